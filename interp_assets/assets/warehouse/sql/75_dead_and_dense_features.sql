-- Features that never fire on the token sample, and those that fire on more than a tenth of its tokens: neither kind is explained well.
SELECT dictionary, feature, CASE WHEN firing_count = 0 THEN 'dead' ELSE 'dense' END AS state,
  firing_count, token_density, context_density, max_activation, top_tokens[1].token AS top_token
FROM feature_statistics
WHERE firing_count = 0 OR token_density > 0.1
ORDER BY dictionary, state, token_density DESC, feature
