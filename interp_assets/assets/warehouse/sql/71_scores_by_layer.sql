-- Headline scores by layer: each model's dictionaries of one kind side by side from the first layer to the last.
SELECT d.model, d.kind, s.scorer, s.metric, s.explanation_method, d.layer,
  count(s.value) AS n_features, median(s.value) AS median, avg(s.value) AS mean,
  avg(s.value) - 1.96 * stddev_samp(s.value) / sqrt(count(s.value)) AS ci_low,
  avg(s.value) + 1.96 * stddev_samp(s.value) / sqrt(count(s.value)) AS ci_high,
  avg(s.floor) AS floor
FROM scores s JOIN dictionaries d USING (dictionary)
WHERE s.headline
GROUP BY ALL
ORDER BY d.model, d.kind, s.scorer, s.explanation_method, d.layer
