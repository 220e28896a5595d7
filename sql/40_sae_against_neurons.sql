-- SAE latents against neurons at the same model and layer: the median of each scorer's metric side by side, with the shuffled
-- baseline of each and the difference between SAE and neurons for the same explanation method.
WITH medians AS (
  SELECT d.model, d.layer, s.scorer, s.explanation_method, s.metric,
    median(s.value) FILTER (d.kind NOT IN ('neurons', 'topk_neurons')) AS sae_median,
    count(s.value) FILTER (d.kind NOT IN ('neurons', 'topk_neurons')) AS sae_features,
    median(s.value) FILTER (d.kind IN ('neurons', 'topk_neurons')) AS neuron_median,
    count(s.value) FILTER (d.kind IN ('neurons', 'topk_neurons')) AS neuron_features
  FROM scores s JOIN dictionaries d USING (dictionary)
  WHERE s.stratum IS NULL
  GROUP BY ALL
)
SELECT *, sae_median - neuron_median AS difference
FROM medians
WHERE sae_features > 0 AND neuron_features > 0
ORDER BY model, layer, scorer, metric, explanation_method
