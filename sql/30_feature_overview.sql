-- One row per feature and explanation method: what it is, how often it fires, how good the explanation is by each scorer. Features
-- with imported examples have no statistics of their own.
SELECT
  dictionary, feature, s.token_density, s.max_activation, s.top_token_share, s.top_tokens[1].token AS top_token,
  x.outcome AS examples_outcome, e.explanation_method, e.outcome AS explanation_outcome, e.explanation,
  d.detection, d.detection_ci_low, d.detection_ci_high, d.detection_auroc, f.fuzzing, f.fuzzing_ci_low, f.fuzzing_ci_high, f.fuzzing_auroc
FROM feature_statistics s
FULL JOIN feature_examples x USING (dictionary, feature)
LEFT JOIN explanations e USING (dictionary, feature)
LEFT JOIN (
  SELECT dictionary, feature, explanation_method,
    max(value) FILTER (metric = 'balanced_accuracy') AS detection,
    max(ci_low) FILTER (metric = 'balanced_accuracy') AS detection_ci_low,
    max(ci_high) FILTER (metric = 'balanced_accuracy') AS detection_ci_high,
    max(value) FILTER (metric = 'auroc') AS detection_auroc
  FROM scores WHERE scorer = 'detection' GROUP BY ALL
) d USING (dictionary, feature, explanation_method)
LEFT JOIN (
  SELECT dictionary, feature, explanation_method,
    max(value) FILTER (metric = 'balanced_accuracy') AS fuzzing,
    max(ci_low) FILTER (metric = 'balanced_accuracy') AS fuzzing_ci_low,
    max(ci_high) FILTER (metric = 'balanced_accuracy') AS fuzzing_ci_high,
    max(value) FILTER (metric = 'auroc') AS fuzzing_auroc
  FROM scores WHERE scorer = 'fuzzing' GROUP BY ALL
) f USING (dictionary, feature, explanation_method)
ORDER BY dictionary, feature, e.explanation_method
