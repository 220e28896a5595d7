-- Features that intervention explains and fuzzing does not: known by what they make the model say and not by what they fire on. Those with
-- the largest gain first, with the explanation that gains it.
SELECT q.*, e.explanation
FROM feature_quadrants q
LEFT JOIN explanations e ON e.dictionary = q.dictionary AND e.feature = q.feature AND e.explanation_method = q.intervention_method
WHERE q.quadrant = 'output_only'
ORDER BY dictionary, intervention DESC, feature
