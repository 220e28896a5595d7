-- How well each scorer agrees with the ratings, over all of them: Spearman with its 95 % interval, the same corrected for disagreement among
-- raters, Pearson and Kendall, the published Spearman values of arXiv 2410.13928, and the scorer's place as far as the data decide it
-- (1 to the number of scorers: not at all). Rows are in the order of the names, since correlations in wide intervals are no ranking.
-- `rater_kind` says whether people rated, or a generator.
WITH published(scorer, published_spearman) AS (
  VALUES ('fuzzing', 0.69::DOUBLE), ('simulation', 0.60), ('detection', 0.59), ('surprisal', 0.34), ('embedding', 0.32)
)
SELECT c.rater_kind, c.scorer::VARCHAR AS scorer, any_value(c.n_explanations) AS n_explanations, any_value(c.n_features) AS n_features,
  max(c.value) FILTER (statistic = 'spearman') AS spearman,
  max(c.ci_low) FILTER (statistic = 'spearman') AS ci_low, max(c.ci_high) FILTER (statistic = 'spearman') AS ci_high,
  max(c.value) FILTER (statistic = 'spearman_corrected_for_attenuation') AS corrected_spearman,
  max(c.value) FILTER (statistic = 'pearson') AS pearson, max(c.value) FILTER (statistic = 'kendall_tau_b') AS kendall_tau_b,
  any_value(p.published_spearman) AS published_spearman,
  any_value(c.smallest_detectable) AS smallest_detectable, any_value(c.place_low) AS place_low, any_value(c.place_high) AS place_high,
  max(c.outcome::VARCHAR) FILTER (statistic = 'spearman') AS outcome
FROM human_correlations c LEFT JOIN published p ON p.scorer = c.scorer
WHERE c.scope = 'all'
GROUP BY c.rater_kind, c.scorer
ORDER BY 1, 2
