-- How every feature and every trial of every stage ended: one row per dictionary, stage, method and outcome.
SELECT dictionary, 'examples' AS stage, '' AS explanation_method, outcome, count(*) AS n
FROM feature_examples GROUP BY ALL
UNION ALL
SELECT dictionary, 'vocabulary_projections', '', outcome, count(DISTINCT feature)
FROM vocabulary_projections GROUP BY ALL
UNION ALL
SELECT dictionary, 'token_changes', '', outcome, count(DISTINCT feature)
FROM token_changes GROUP BY ALL
UNION ALL
SELECT dictionary, 'steering', '', outcome, count(*)
FROM steering GROUP BY ALL
UNION ALL
SELECT dictionary, 'steered_sets', '', outcome, count(DISTINCT (feature, target_kl))
FROM steered_sets GROUP BY ALL
UNION ALL
SELECT dictionary, 'explanations', explanation_method, outcome, count(*)
FROM explanations GROUP BY ALL
UNION ALL
SELECT dictionary, 'feature_matches/' || assignment, '', outcome, count(*)
FROM feature_matches WHERE rank = 0 GROUP BY ALL
UNION ALL
SELECT dictionary, 'score_stability/' || scorer, explanation_method, outcome, count(*)
FROM repeated_scores GROUP BY ALL
UNION ALL
SELECT dictionary, 'verdicts/' || scorer, explanation_method, outcome, count(*)
FROM verdicts GROUP BY ALL
UNION ALL
SELECT dictionary, 'scores/' || scorer, explanation_method, outcome, count(*)
FROM scores WHERE headline GROUP BY ALL
ORDER BY dictionary, stage, explanation_method, n DESC
