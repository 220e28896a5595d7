-- Which explainer is best by which scorer: headline scores of each explanation method, with the mean lift over another feature's explanation
-- by the same method on the same features and its 95 % interval (view lift_over_shuffled; null without the method's own shuffles, and 0 for
-- shuffles, which lie 0 above themselves). Methods are ranked within dictionary and scorer by compared_mean, the mean over the n_compared
-- features that all methods have scores of; a method with scores of less than half the features of another has no place.
-- lift_over_token_list is the mean lead over the feature's token list, which needs no language model: over its score by the same scorer and, for
-- detection and fuzzing, over its score by the matcher on the same windows where there is one. token_list_by names the scorer of the list.
-- Intervals of means are Student's, the quantile of t by Cornish and Fisher's expansion (Abramowitz and Stegun 1964, 26.7.5: within 0.2 % from 3
-- degrees of freedom up); below 4 features there is none.
WITH headline AS (
  SELECT dictionary, scorer, metric, explanation_method, feature, value, floor FROM scores WHERE headline AND explanation_method <> 'none'
), listed AS (
  SELECT dictionary, scorer, feature, value, scorer AS token_list_by FROM headline WHERE explanation_method = 'token_list' AND value IS NOT NULL
  UNION ALL
  SELECT dictionary, CASE metric WHEN 'balanced_accuracy' THEN 'detection' ELSE 'fuzzing' END, feature, value, 'matcher' FROM scores
  WHERE scorer = 'matcher' AND explanation_method = 'token_list' AND metric IN ('balanced_accuracy', 'fuzzing_balanced_accuracy')
    AND value IS NOT NULL
), lists AS (
  FROM listed QUALIFY row_number() OVER (PARTITION BY dictionary, scorer, feature ORDER BY token_list_by = 'matcher' DESC) = 1
), lifts AS (
  SELECT h.*, h.value - l.value AS list_lift, l.token_list_by
  FROM headline h LEFT JOIN lists l ON l.dictionary = h.dictionary AND l.scorer = h.scorer AND l.feature = h.feature
), summed AS (
  SELECT dictionary, scorer, metric, explanation_method,
    count(value) AS n_features, median(value) AS median, avg(value) AS mean,
    CASE WHEN count(value) >= 4 THEN count(value) - 1 END AS df,
    CASE WHEN count(list_lift) >= 4 THEN count(list_lift) - 1 END AS list_df,
    mean - (1.959964 + 2.372271 / df + 2.822499 / df ** 2 + 2.555850 / df ** 3 + 1.589534 / df ** 4) * stddev_samp(value) / sqrt(count(value)) AS ci_low,
    mean + (1.959964 + 2.372271 / df + 2.822499 / df ** 2 + 2.555850 / df ** 3 + 1.589534 / df ** 4) * stddev_samp(value) / sqrt(count(value)) AS ci_high,
    avg(floor) AS floor,
    avg(list_lift) AS lift_over_token_list,
    lift_over_token_list - (1.959964 + 2.372271 / list_df + 2.822499 / list_df ** 2 + 2.555850 / list_df ** 3 + 1.589534 / list_df ** 4) * stddev_samp(list_lift) / sqrt(count(list_lift)) AS token_list_lift_ci_low,
    lift_over_token_list + (1.959964 + 2.372271 / list_df + 2.822499 / list_df ** 2 + 2.555850 / list_df ** 3 + 1.589534 / list_df ** 4) * stddev_samp(list_lift) / sqrt(count(list_lift)) AS token_list_lift_ci_high,
    max(token_list_by) FILTER (list_lift IS NOT NULL) AS token_list_by
  FROM lifts GROUP BY ALL HAVING count(value) > 0
), ranked AS (
  SELECT dictionary, scorer, explanation_method, count(*) OVER (PARTITION BY dictionary, scorer) AS n_methods
  FROM (FROM summed QUALIFY n_features >= 0.5 * max(n_features) OVER (PARTITION BY dictionary, scorer))
), compared AS (
  SELECT dictionary, scorer, explanation_method, count(*) AS n_compared, avg(value) AS compared_mean
  FROM (
    SELECT h.*, n_methods, count(*) OVER (PARTITION BY h.dictionary, h.scorer, h.feature) AS n_scored
    FROM headline h JOIN ranked USING (dictionary, scorer, explanation_method) WHERE h.value IS NOT NULL
  )
  WHERE n_scored = n_methods GROUP BY ALL
), placed AS (
  SELECT *, rank() OVER (PARTITION BY dictionary, scorer ORDER BY compared_mean DESC) AS place FROM compared
)
SELECT dictionary, scorer, metric, place, explanation_method, n_compared, compared_mean, n_features, median, mean, ci_low, ci_high, floor,
  CASE WHEN starts_with(explanation_method::VARCHAR, 'shuffled') THEN 0 ELSE lift_over_shuffled END AS lift_over_shuffled, lift_ci_low, lift_ci_high, n_deals, lift_over_token_list, token_list_lift_ci_low, token_list_lift_ci_high, token_list_by
FROM summed LEFT JOIN placed USING (dictionary, scorer, explanation_method) LEFT JOIN (
  SELECT dictionary, scorer, metric, explanation_method, lift AS lift_over_shuffled, ci_low AS lift_ci_low, ci_high AS lift_ci_high, n_deals
  FROM lift_over_shuffled WHERE headline
) USING (dictionary, scorer, metric, explanation_method)
ORDER BY dictionary, scorer, place NULLS LAST, explanation_method
