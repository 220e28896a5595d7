-- What each stage's questions cost for each dictionary: questions, tokens, hours and price. A reply counts once, with what it cost when it was
-- first asked. `shareable_tokens` are prompt tokens that a prefix cache could serve at most, out of `comparable_tokens`.
SELECT dictionary, asset, explanation_method, model,
  count(DISTINCT feature) AS n_features,
  count(*) AS n_questions,
  count(*) FILTER (source = 'store') AS n_from_store,
  count(*) FILTER (source = 'repeated') AS n_repeated,
  sum(prompt_tokens)::BIGINT AS prompt_tokens,
  sum(cached_tokens)::BIGINT AS cached_tokens,
  sum(shareable_tokens)::BIGINT AS shareable_tokens,
  sum(prompt_tokens) FILTER (shareable_tokens IS NOT NULL)::BIGINT AS comparable_tokens,
  sum(completion_tokens)::BIGINT AS completion_tokens,
  sum(seconds) / 3600 AS hours,
  sum(price_usd) AS usd
FROM ledger
GROUP BY dictionary, asset, explanation_method, model
ORDER BY dictionary, asset, explanation_method, model
