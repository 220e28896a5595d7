-- Which explainer is best by which scorer: headline scores of each explanation method, ranked within dictionary and scorer by their mean,
-- with the mean lift over another feature's explanation (shuffled) on the same features and its 95 % interval.
WITH headline AS (
  SELECT dictionary, scorer, metric, explanation_method, feature, value, floor FROM scores WHERE headline AND explanation_method <> 'none'
), lifts AS (
  SELECT h.*, h.value - s.value AS lift
  FROM headline h LEFT JOIN headline s
    ON s.explanation_method = 'shuffled' AND s.dictionary = h.dictionary AND s.scorer = h.scorer AND s.feature = h.feature
), summed AS (
  SELECT dictionary, scorer, metric, explanation_method,
    count(value) AS n_features, median(value) AS median, avg(value) AS mean,
    avg(value) - 1.96 * stddev_samp(value) / sqrt(count(value)) AS ci_low,
    avg(value) + 1.96 * stddev_samp(value) / sqrt(count(value)) AS ci_high,
    avg(floor) AS floor,
    avg(lift) AS lift_over_shuffled,
    avg(lift) - 1.96 * stddev_samp(lift) / sqrt(count(lift)) AS lift_ci_low,
    avg(lift) + 1.96 * stddev_samp(lift) / sqrt(count(lift)) AS lift_ci_high
  FROM lifts GROUP BY ALL
)
SELECT dictionary, scorer, metric, rank() OVER (PARTITION BY dictionary, scorer ORDER BY mean DESC NULLS LAST) AS place,
  * EXCLUDE (dictionary, scorer, metric)
FROM summed WHERE n_features > 0
ORDER BY dictionary, scorer, place, explanation_method
