-- Which explainer is best by which scorer: headline scores of each explanation method, with the mean lift over another feature's explanation
-- (shuffled) on the same features and its 95 % interval. They are ranked within dictionary and scorer by compared_mean, the mean over the
-- n_compared features that all of them have scores of; a method with scores of less than half the features of another has no place.
-- Intervals of means are Student's, the quantile of t by Cornish and Fisher's expansion (Abramowitz and Stegun 1964, 26.7.5: within 0.2 % from 3
-- degrees of freedom up); below 4 features there is none.
WITH headline AS (
  SELECT dictionary, scorer, metric, explanation_method, feature, value, floor FROM scores WHERE headline AND explanation_method <> 'none'
), lifts AS (
  SELECT h.*, h.value - s.value AS lift
  FROM headline h LEFT JOIN headline s
    ON s.explanation_method = 'shuffled' AND s.dictionary = h.dictionary AND s.scorer = h.scorer AND s.feature = h.feature
), summed AS (
  SELECT dictionary, scorer, metric, explanation_method,
    count(value) AS n_features, median(value) AS median, avg(value) AS mean,
    CASE WHEN count(value) >= 4 THEN count(value) - 1 END AS df,
    CASE WHEN count(lift) >= 4 THEN count(lift) - 1 END AS lift_df,
    mean - (1.959964 + 2.372271 / df + 2.822499 / df ** 2 + 2.555850 / df ** 3 + 1.589534 / df ** 4) * stddev_samp(value) / sqrt(count(value)) AS ci_low,
    mean + (1.959964 + 2.372271 / df + 2.822499 / df ** 2 + 2.555850 / df ** 3 + 1.589534 / df ** 4) * stddev_samp(value) / sqrt(count(value)) AS ci_high,
    avg(floor) AS floor,
    avg(lift) AS lift_over_shuffled,
    lift_over_shuffled - (1.959964 + 2.372271 / lift_df + 2.822499 / lift_df ** 2 + 2.555850 / lift_df ** 3 + 1.589534 / lift_df ** 4) * stddev_samp(lift) / sqrt(count(lift)) AS lift_ci_low,
    lift_over_shuffled + (1.959964 + 2.372271 / lift_df + 2.822499 / lift_df ** 2 + 2.555850 / lift_df ** 3 + 1.589534 / lift_df ** 4) * stddev_samp(lift) / sqrt(count(lift)) AS lift_ci_high
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
SELECT dictionary, scorer, metric, place, explanation_method, n_compared, compared_mean,
  * EXCLUDE (dictionary, scorer, metric, place, explanation_method, n_compared, compared_mean, df, lift_df)
FROM summed LEFT JOIN placed USING (dictionary, scorer, explanation_method)
ORDER BY dictionary, scorer, place NULLS LAST, explanation_method
