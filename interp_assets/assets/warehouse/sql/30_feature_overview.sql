-- One row per feature and explanation method: what it is, how often it fires, how good the explanation is by each scorer (`scores` maps
-- every scorer to its headline value). Features with imported examples have no statistics of their own.
WITH headline AS (
  SELECT dictionary, feature, explanation_method, map_from_entries(list((scorer::VARCHAR, value) ORDER BY scorer)) AS scores,
    max(value) FILTER (scorer = 'detection') AS detection,
    max(ci_low) FILTER (scorer = 'detection') AS detection_ci_low, max(ci_high) FILTER (scorer = 'detection') AS detection_ci_high,
    max(value) FILTER (scorer = 'fuzzing') AS fuzzing,
    max(ci_low) FILTER (scorer = 'fuzzing') AS fuzzing_ci_low, max(ci_high) FILTER (scorer = 'fuzzing') AS fuzzing_ci_high
  FROM scores WHERE headline AND value IS NOT NULL AND explanation_method <> 'none' GROUP BY ALL
), unexplained AS (
  SELECT dictionary, feature, map_from_entries(list((scorer::VARCHAR, value) ORDER BY scorer)) AS scores
  FROM scores WHERE headline AND value IS NOT NULL AND explanation_method = 'none' GROUP BY ALL
)
SELECT
  dictionary, feature, s.token_density, s.max_activation, s.top_token_share, s.top_tokens[1].token AS top_token,
  x.outcome AS examples_outcome, e.explanation_method, e.outcome AS explanation_outcome, e.explanation, e.label,
  h.* EXCLUDE (dictionary, feature, explanation_method), u.scores AS scores_without_explanation
FROM feature_statistics s
FULL JOIN feature_examples x USING (dictionary, feature)
LEFT JOIN explanations e USING (dictionary, feature)
LEFT JOIN headline h USING (dictionary, feature, explanation_method)
LEFT JOIN unexplained u USING (dictionary, feature)
ORDER BY dictionary, feature, explanation_method
