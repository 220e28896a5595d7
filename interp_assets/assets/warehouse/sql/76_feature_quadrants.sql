-- What explains a feature, its inputs or what it makes the model say: the best explanation of each feature by fuzzing and the best by
-- intervention (those whose interval is above the floor before the others, then by value; baselines left out), and in which quadrant that
-- puts the feature: both | output_only | input_only | neither. A scorer explains a feature whose best interval lies above the floor.
WITH judged AS (
  SELECT dictionary, feature, scorer::VARCHAR AS scorer, explanation_method, value, ci_low, ci_high, coalesce(ci_low > floor, false) AS explains
  FROM scores
  WHERE headline AND value IS NOT NULL AND scorer IN ('intervention', 'fuzzing') AND NOT starts_with(explanation_method::VARCHAR, 'shuffled') AND explanation_method <> 'constant'
), best AS (
  SELECT * FROM judged
  QUALIFY row_number() OVER (PARTITION BY dictionary, feature, scorer ORDER BY explains DESC, value DESC, explanation_method) = 1
)
SELECT i.dictionary, i.feature,
  CASE WHEN i.explains AND f.explains THEN 'both' WHEN i.explains THEN 'output_only' WHEN f.explains THEN 'input_only' ELSE 'neither' END AS quadrant,
  i.value AS intervention, i.ci_low AS intervention_ci_low, i.ci_high AS intervention_ci_high, i.explanation_method AS intervention_method,
  f.value AS fuzzing, f.ci_low AS fuzzing_ci_low, f.ci_high AS fuzzing_ci_high, f.explanation_method AS fuzzing_method
FROM best i JOIN best f ON i.dictionary = f.dictionary AND i.feature = f.feature AND i.scorer = 'intervention' AND f.scorer = 'fuzzing'
ORDER BY dictionary, feature
