-- Headline scores by layer: each model's dictionaries of one kind side by side from the first layer to the last.
-- Intervals of means are Student's, the quantile of t by Cornish and Fisher's expansion (Abramowitz and Stegun 1964, 26.7.5: within 0.2 % from 3
-- degrees of freedom up); below 4 features there is none.
WITH summed AS (
  SELECT d.model, d.kind, s.scorer, s.metric, s.explanation_method, d.layer,
    count(s.value) AS n_features, median(s.value) AS median, avg(s.value) AS mean, avg(s.floor) AS floor,
    CASE WHEN count(s.value) >= 4 THEN count(s.value) - 1 END AS df,
    stddev_samp(s.value) / sqrt(count(s.value)) AS standard_error
  FROM scores s JOIN dictionaries d USING (dictionary)
  WHERE s.headline
  GROUP BY d.model, d.kind, s.scorer, s.metric, s.explanation_method, d.layer
), widened AS (
  SELECT *, (1.959964 + 2.372271 / df + 2.822499 / df ** 2 + 2.555850 / df ** 3 + 1.589534 / df ** 4) * standard_error AS margin FROM summed
)
SELECT model, kind, scorer, metric, explanation_method, layer, n_features, median, mean, mean - margin AS ci_low, mean + margin AS ci_high, floor
FROM widened
ORDER BY model, kind, scorer, explanation_method, layer
