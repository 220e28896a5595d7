-- Each scorer's metrics for each explanation method: median and mean over features, 95 % interval of the mean, and the floor
-- that a judge which reads nothing reaches. The headline metric is the one that
-- stands for its scorer; explanation_method is "none" for scorers that read no explanation. `n_unscored` features ended in another outcome (see the view `outcomes`).
SELECT
  dictionary, scorer, explanation_method, metric, headline,
  count(value) AS n_features,
  count(*) - count(value) AS n_unscored,
  median(value) AS median,
  avg(value) AS mean,
  avg(value) - 1.96 * stddev_samp(value) / sqrt(count(value)) AS ci_low,
  avg(value) + 1.96 * stddev_samp(value) / sqrt(count(value)) AS ci_high,
  avg(floor) FILTER (value IS NOT NULL) AS floor,
  sum(n_unanswered)::BIGINT AS n_unanswered
FROM scores
WHERE stratum IS NULL
GROUP BY dictionary, scorer, explanation_method, metric, headline
ORDER BY dictionary, scorer, metric, explanation_method
