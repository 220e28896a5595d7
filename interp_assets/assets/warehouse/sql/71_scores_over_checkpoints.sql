-- Headline scores over the checkpoints of a training run, from the first step to the last, for dictionaries that a watched folder registered.
-- `change` is the mean difference from the checkpoint before, over the features that both checkpoints have a score of: a feature keeps its
-- number through a run. An interval of `change` that leaves out 0 says that the run is still getting more interpretable, or less.
-- Intervals of means are Student's, the quantile of t by Cornish and Fisher's expansion (Abramowitz and Stegun 1964, 26.7.5: within 0.2 % from 3
-- degrees of freedom up); below 4 features there is none.
WITH headline AS (
  SELECT d.series, d.step, s.dictionary, s.scorer, s.metric, s.explanation_method, s.feature, s.value, s.floor
  FROM scores s JOIN dictionaries d USING (dictionary)
  WHERE s.headline AND s.stratum IS NULL AND d.series IS NOT NULL
), steps AS (
  SELECT *, lag(step) OVER (PARTITION BY series, scorer, metric, explanation_method ORDER BY step) AS step_before
  FROM (SELECT DISTINCT series, step, scorer, metric, explanation_method FROM headline)
), paired AS (
  SELECT h.*, s.step_before, h.value - b.value AS difference
  FROM headline h
  JOIN steps s USING (series, step, scorer, metric, explanation_method)
  LEFT JOIN headline b
    ON b.series = h.series AND b.scorer = h.scorer AND b.metric = h.metric AND b.explanation_method = h.explanation_method
    AND b.feature = h.feature AND b.step = s.step_before
), summed AS (
  SELECT series, step, dictionary, scorer, metric, explanation_method, step_before,
    count(value) AS n_features, avg(value) AS mean, median(value) AS median, avg(floor) FILTER (value IS NOT NULL) AS floor,
    CASE WHEN count(value) >= 4 THEN count(value) - 1 END AS df,
    stddev_samp(value) / sqrt(count(value)) AS standard_error,
    count(difference) AS n_paired, avg(difference) AS change,
    CASE WHEN count(difference) >= 4 THEN count(difference) - 1 END AS df_change,
    stddev_samp(difference) / sqrt(count(difference)) AS standard_error_change
  FROM paired
  GROUP BY series, step, dictionary, scorer, metric, explanation_method, step_before
), widened AS (
  SELECT *,
    (1.959964 + 2.372271 / df + 2.822499 / df ** 2 + 2.555850 / df ** 3 + 1.589534 / df ** 4) * standard_error AS margin,
    (1.959964 + 2.372271 / df_change + 2.822499 / df_change ** 2 + 2.555850 / df_change ** 3 + 1.589534 / df_change ** 4)
      * standard_error_change AS margin_change
  FROM summed
)
SELECT series, step, dictionary, scorer, metric, explanation_method, n_features, mean, mean - margin AS ci_low, mean + margin AS ci_high, median,
  floor, step_before, n_paired, change, change - margin_change AS change_ci_low, change + margin_change AS change_ci_high
FROM widened
ORDER BY series, scorer, explanation_method, step
