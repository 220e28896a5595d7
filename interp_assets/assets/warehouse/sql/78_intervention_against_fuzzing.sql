-- Do features that are explained by their inputs also do what is explained? Spearman (ties share their mean rank) and Pearson between the
-- best fuzzing and the best intervention score of each feature, by dictionary, and how many features each quadrant holds. The view
-- scorer_agreement correlates the two over the same explanations.
WITH ranked AS (
  SELECT dictionary, quadrant, intervention AS x, fuzzing AS y,
    rank() OVER (PARTITION BY dictionary ORDER BY intervention) + (count(*) OVER (PARTITION BY dictionary, intervention) - 1) / 2 AS rank_x,
    rank() OVER (PARTITION BY dictionary ORDER BY fuzzing) + (count(*) OVER (PARTITION BY dictionary, fuzzing) - 1) / 2 AS rank_y
  FROM feature_quadrants
)
SELECT dictionary, count(*) AS n_features,
  CASE WHEN count(DISTINCT x) > 1 AND count(DISTINCT y) > 1 THEN corr(rank_x, rank_y) END AS spearman,
  CASE WHEN count(DISTINCT x) > 1 AND count(DISTINCT y) > 1 THEN corr(x, y) END AS pearson,
  count(*) FILTER (quadrant = 'both') AS n_both, count(*) FILTER (quadrant = 'output_only') AS n_output_only,
  count(*) FILTER (quadrant = 'input_only') AS n_input_only, count(*) FILTER (quadrant = 'neither') AS n_neither
FROM ranked GROUP BY dictionary
ORDER BY dictionary
