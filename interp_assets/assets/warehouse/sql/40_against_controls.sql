-- Each dictionary's scores beside those of its controls, for every scorer, metric and explanation method: the same features under another
-- feature's explanation by the same method (control "shuffled", paired by feature: view lift_over_shuffled), and trained controls (`control:` in their records;
-- `trained_control` is true, and they stand first, as the hardest to beat), random TopK SAEs, rotated neurons and plain neurons of the same
-- model and layer (for a dictionary of neurons all but neurons), explained by the same method. `difference` is the mean over the control's,
-- [ci_low, ci_high] its 95 % interval: of paired differences, or Welch's of two independent means, none below 4 features. `same_hook` says whether the two
-- dictionaries sit at one hook; without it they share the layer only.
WITH described AS (
  SELECT *,
    CASE WHEN control IS NOT NULL THEN 2 WHEN kind IN ('random_topk', 'rotated_topk_neurons') THEN 2 WHEN kind IN ('neurons', 'topk_neurons') THEN 1 ELSE 0 END AS plainness
  FROM dictionaries
), own AS (
  SELECT dictionary, scorer, metric, headline, explanation_method, feature, value, floor FROM scores WHERE stratum IS NULL AND value IS NOT NULL
), summed AS (
  SELECT dictionary, scorer, metric, headline, explanation_method,
    count(*) AS n, median(value) AS median, avg(value) AS mean, var_samp(value) AS variance, avg(floor) AS floor
  FROM own GROUP BY ALL
), shuffled AS (
  SELECT dictionary, scorer, metric, headline, explanation_method, 'shuffled' AS control, dictionary AS control_dictionary,
    false AS trained_control, true AS same_hook, n_features, n_features AS n_control_features, median, shuffled_median AS control_median,
    mean, shuffled_mean AS control_mean, lift AS difference, ci_low, ci_high, floor
  FROM lift_over_shuffled
), others AS (
  SELECT a.dictionary, a.scorer, a.metric, a.headline, a.explanation_method, coalesce(control.control, control.kind) AS control,
    b.dictionary AS control_dictionary, control.control IS NOT NULL AS trained_control,
    this.hook = control.hook AS same_hook, a.n AS n_features, b.n AS n_control_features, a.median, b.median AS control_median,
    a.mean, b.mean AS control_mean, a.mean - b.mean AS difference, a.variance / a.n + b.variance / b.n AS variance,
    CASE WHEN least(a.n, b.n) >= 4 AND a.variance + b.variance = 0 THEN least(a.n, b.n) - 1 WHEN least(a.n, b.n) >= 4
      THEN (a.variance / a.n + b.variance / b.n) ** 2 / ((a.variance / a.n) ** 2 / (a.n - 1) + (b.variance / b.n) ** 2 / (b.n - 1))
    END AS df, a.floor
  FROM summed a JOIN summed b USING (scorer, metric, explanation_method)
  JOIN described this ON this.dictionary = a.dictionary JOIN described control ON control.dictionary = b.dictionary
  WHERE this.model = control.model AND this.layer = control.layer AND this.plainness < control.plainness
), widths AS (
  SELECT *, (1.959964 + 2.372271 / df + 2.822499 / df ** 2 + 2.555850 / df ** 3 + 1.589534 / df ** 4) * sqrt(variance) AS half_width FROM others
)
SELECT * FROM shuffled
UNION ALL BY NAME
SELECT * EXCLUDE (half_width, variance, df), difference - half_width AS ci_low, difference + half_width AS ci_high FROM widths
ORDER BY dictionary, scorer, headline DESC, metric, explanation_method, trained_control DESC, control, control_dictionary
