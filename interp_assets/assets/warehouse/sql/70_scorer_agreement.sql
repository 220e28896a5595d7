-- Do two scorers rank explanations alike? Spearman (ties share their mean rank) and Pearson of their headline scores over all explanations
-- that both scored (baselines left out), for each dictionary, with the published Spearman values of arXiv 2410.13928 beside them.
-- A scorer that reads no explanation is compared over features.
WITH headline AS (
  SELECT dictionary, scorer::VARCHAR AS scorer, explanation_method, feature, value FROM scores
  WHERE headline AND value IS NOT NULL AND NOT starts_with(explanation_method::VARCHAR, 'shuffled') AND explanation_method <> 'constant'
), pairs AS (
  SELECT a.dictionary, a.scorer AS scorer, b.scorer AS other, a.value AS x, b.value AS y
  FROM headline a JOIN headline b
    ON a.dictionary = b.dictionary AND a.feature = b.feature AND a.scorer < b.scorer
    AND (a.explanation_method = b.explanation_method OR a.explanation_method = 'none' OR b.explanation_method = 'none')
), ranked AS (
  SELECT dictionary, scorer, other, x, y,
    rank() OVER (PARTITION BY dictionary, scorer, other ORDER BY x) + (count(*) OVER (PARTITION BY dictionary, scorer, other, x) - 1) / 2 AS rank_x,
    rank() OVER (PARTITION BY dictionary, scorer, other ORDER BY y) + (count(*) OVER (PARTITION BY dictionary, scorer, other, y) - 1) / 2 AS rank_y
  FROM pairs
), published(scorer, other, published_spearman) AS (
  VALUES ('detection', 'fuzzing', 0.73::DOUBLE), ('fuzzing', 'simulation', 0.75), ('detection', 'simulation', 0.44)
), agreement AS (
  SELECT dictionary, scorer, other, count(*) AS n,
    CASE WHEN count(DISTINCT x) > 1 AND count(DISTINCT y) > 1 THEN corr(rank_x, rank_y) END AS spearman,
    CASE WHEN count(DISTINCT x) > 1 AND count(DISTINCT y) > 1 THEN corr(x, y) END AS pearson
  FROM ranked GROUP BY ALL
)
SELECT agreement.*, published_spearman FROM agreement LEFT JOIN published USING (scorer, other)
ORDER BY dictionary, scorer, other
