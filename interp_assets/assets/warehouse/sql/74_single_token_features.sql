-- Features of which one token carries at least 90 % of the activation mass, with what each method says about them.
SELECT s.dictionary, s.feature, s.top_tokens[1].token AS token, s.top_token_share, s.firing_count,
  e.explanation_method, e.explanation
FROM feature_statistics s
LEFT JOIN explanations e ON e.dictionary = s.dictionary AND e.feature = s.feature AND e.outcome = 'ok' AND NOT starts_with(e.explanation_method::VARCHAR, 'shuffled')
WHERE s.top_token_share >= 0.9
ORDER BY dictionary, top_token_share DESC, feature, explanation_method
