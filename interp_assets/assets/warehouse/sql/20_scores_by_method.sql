-- Each scorer's metrics for each explanation method: median and mean over features with their 95 % intervals, and the floor that a judge
-- which reads nothing reaches. The headline metric is the one that stands for its scorer; explanation_method is "none" for scorers that
-- read no explanation. `n_unscored` features ended in another outcome (see the view `outcomes`). The median's interval runs between order
-- statistics (Conover 1999, section 3.2) and so assumes nothing of the scores; below 6 features there is none.
-- Intervals of means are Student's, the quantile of t by Cornish and Fisher's expansion (Abramowitz and Stegun 1964, 26.7.5: within 0.2 % from 3
-- degrees of freedom up); below 4 features there is none.
WITH summed AS (
  SELECT
    dictionary, scorer, explanation_method, metric, headline,
    count(value) AS n_features,
    count(*) - count(value) AS n_unscored,
    median(value) AS median,
    avg(value) AS mean,
    CASE WHEN count(value) >= 4 THEN count(value) - 1 END AS df,
    stddev_samp(value) / sqrt(count(value)) AS standard_error,
    list(value ORDER BY value) FILTER (value IS NOT NULL) AS ordered,
    avg(floor) FILTER (value IS NOT NULL) AS floor,
    sum(n_unanswered)::BIGINT AS n_unanswered
  FROM scores
  WHERE stratum IS NULL
  GROUP BY dictionary, scorer, explanation_method, metric, headline
)
SELECT
  dictionary, scorer, explanation_method, metric, headline, n_features, n_unscored, median,
  CASE WHEN n_features >= 6 THEN ordered[ceil((n_features - 1.96 * sqrt(n_features)) / 2)::INT] END AS median_ci_low,
  CASE WHEN n_features >= 6 THEN ordered[ceil((n_features + 1.96 * sqrt(n_features)) / 2)::INT] END AS median_ci_high,
  mean, mean - margin AS ci_low, mean + margin AS ci_high, floor, n_unanswered
FROM (
  SELECT *, (1.959964 + 2.372271 / df + 2.822499 / df ** 2 + 2.555850 / df ** 3 + 1.589534 / df ** 4) * standard_error AS margin FROM summed
)
ORDER BY dictionary, scorer, metric, explanation_method
