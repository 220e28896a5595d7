-- How far explanations lie above other features' explanations by the same method (`shuffled`, or shuffled_<method>): for every scorer, metric and
-- method the mean difference over features, paired by feature, and its 95 % interval; none below 4 features. With several deals a feature's
-- shuffled score is the mean over its deals. Each text is then dealt to several features, so the interval allows for features whose text
-- suits many: its variance is Student's or, where larger, the variance in which the scores of a feature's text under other features count
-- towards that feature (dyadic clusters: Aronow, Samii and Assenova 2015, corrected for few features; none below 5 features).
-- Intervals of means are Student's, the quantile of t by Cornish and Fisher's expansion (Abramowitz and Stegun 1964, 26.7.5: within 0.2 % from 3
-- degrees of freedom up).
WITH own AS (
  SELECT dictionary, scorer, metric, headline, explanation_method, feature, value, floor,
    CASE explanation_method WHEN 'max_act' THEN 'shuffled' ELSE 'shuffled_' || explanation_method END AS shuffled_method
  FROM scores
  WHERE stratum IS NULL AND value IS NOT NULL AND explanation_method <> 'none' AND NOT starts_with(explanation_method::VARCHAR, 'shuffled')
), dealt AS (
  SELECT dictionary, scorer, metric, explanation_method AS shuffled_method, feature, value AS shuffled_value,
    list_filter(deals, lambda deal: deal.value IS NOT NULL) AS deals
  FROM scores WHERE stratum IS NULL AND value IS NOT NULL AND starts_with(explanation_method::VARCHAR, 'shuffled')
), paired AS (
  SELECT own.*, shuffled_value, deals FROM own JOIN dealt USING (dictionary, scorer, metric, shuffled_method, feature)
), summed AS (
  SELECT dictionary, scorer, metric, headline, explanation_method, shuffled_method,
    count(*) AS n_features, coalesce(max(len(deals)), 1) AS n_deals, median(value) AS median, median(shuffled_value) AS shuffled_median,
    avg(value) AS mean, avg(shuffled_value) AS shuffled_mean, avg(value - shuffled_value) AS lift,
    var_samp(value - shuffled_value) / n_features AS variance, avg(floor) AS floor
  FROM paired GROUP BY ALL
), one_deal AS (
  SELECT dictionary, scorer, metric, explanation_method, feature, value - mean AS own_part, deal.donor_feature AS donor,
    (deal.value - shuffled_mean) / len(deals) AS shuffled_part
  FROM (SELECT *, unnest(deals) AS deal FROM paired WHERE len(deals) > 1)
  JOIN (SELECT dictionary, scorer, metric, explanation_method, mean, shuffled_mean FROM summed) USING (dictionary, scorer, metric, explanation_method)
), parts AS (
  SELECT dictionary, scorer, metric, explanation_method, feature AS cluster, any_value(own_part) - sum(shuffled_part) AS part
  FROM one_deal GROUP BY ALL
  UNION ALL
  SELECT dictionary, scorer, metric, explanation_method, donor AS cluster, -shuffled_part AS part FROM one_deal
), clusters AS (
  SELECT dictionary, scorer, metric, explanation_method, sum(part) AS part FROM parts
  GROUP BY dictionary, scorer, metric, explanation_method, cluster
), dyadic AS (
  SELECT dictionary, scorer, metric, explanation_method, sum(part ** 2) - any_value(counted_twice) AS total
  FROM clusters
  JOIN (SELECT dictionary, scorer, metric, explanation_method, sum(shuffled_part ** 2) AS counted_twice FROM one_deal GROUP BY ALL)
    USING (dictionary, scorer, metric, explanation_method)
  GROUP BY ALL
), known AS (
  SELECT summed.*, CASE WHEN n_features >= 5 OR (n_features = 4 AND n_deals = 1) THEN n_features - 1 END AS df,
    greatest(variance, CASE WHEN n_features >= 5 THEN total / (n_features * (n_features - 4 + 1 / n_deals)) END) AS larger
  FROM summed LEFT JOIN dyadic USING (dictionary, scorer, metric, explanation_method)
), widths AS (
  SELECT *, (1.959964 + 2.372271 / df + 2.822499 / df ** 2 + 2.555850 / df ** 3 + 1.589534 / df ** 4) * sqrt(larger) AS half_width FROM known
)
SELECT dictionary, scorer, metric, headline, explanation_method, shuffled_method, n_features, n_deals, mean, shuffled_mean, median, shuffled_median,
  lift, lift - half_width AS ci_low, lift + half_width AS ci_high, floor
FROM widths
ORDER BY dictionary, scorer, headline DESC, metric, explanation_method
