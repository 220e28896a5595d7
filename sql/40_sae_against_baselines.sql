-- SAE latents against neurons and random directions at the same model and layer: the median of each scorer's headline metric side by
-- side for the same explanation method, and what the SAE has over each.
WITH families AS (
  SELECT dictionary, model, layer,
    CASE WHEN kind IN ('neurons', 'topk_neurons', 'rotated_topk_neurons') THEN 'neurons' WHEN kind = 'random_topk' THEN 'random' ELSE 'sae' END AS family
  FROM dictionaries
), medians AS (
  SELECT f.model, f.layer, s.scorer, s.metric, s.explanation_method,
    median(s.value) FILTER (family = 'sae') AS sae_median, count(s.value) FILTER (family = 'sae') AS sae_features,
    median(s.value) FILTER (family = 'neurons') AS neuron_median, count(s.value) FILTER (family = 'neurons') AS neuron_features,
    median(s.value) FILTER (family = 'random') AS random_median, count(s.value) FILTER (family = 'random') AS random_features,
    avg(s.floor) AS floor
  FROM scores s JOIN families f USING (dictionary)
  WHERE s.headline
  GROUP BY ALL
)
SELECT *, sae_median - neuron_median AS over_neurons, sae_median - random_median AS over_random
FROM medians
WHERE sae_features > 0 AND (neuron_features > 0 OR random_features > 0)
ORDER BY model, layer, scorer, explanation_method
