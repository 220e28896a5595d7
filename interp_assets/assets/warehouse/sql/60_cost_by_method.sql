-- What each stage's questions cost, per 1,000 features, beside P1's published tokens per feature at 100 windows (input, of which
-- in a cacheable prefix, and output). A reply counts once, with what it cost when it was first asked. Beside them what the last backfill
-- of the dictionaries said beforehand that 1,000 features would take at most; null where it said nothing. cached_share is the share of
-- prompt tokens that came out of a prefix cache, shareable_share the most that it can be with the prompts in their order.
WITH estimated AS (SELECT dictionary, unnest(cost_estimates) AS e FROM dictionaries),
bounds AS (
  SELECT e.asset AS asset, e.explanation_method AS explanation_method, e.model AS model, sum(e.n_features) AS n_estimated,
    sum(e.prompt_tokens) AS prompt_tokens, sum(e.completion_tokens) AS completion_tokens
  FROM estimated GROUP BY ALL
),
published(asset, p1_prompt_tokens_per_feature, p1_cacheable_tokens_per_feature, p1_completion_tokens_per_feature) AS (
  VALUES ('scores/fuzzing', 19600, 14200, 249), ('scores/detection', 17000, 11900, 240), ('scores/simulation', 105000, 87500, 5)
)
SELECT l.asset, l.explanation_method, l.model,
  sum(l.n_features)::BIGINT AS n_features,
  sum(l.n_questions)::BIGINT AS n_questions,
  sum(l.n_from_store)::BIGINT AS n_from_store,
  sum(l.n_repeated)::BIGINT AS n_repeated,
  1000 * sum(l.prompt_tokens)::BIGINT / sum(l.n_features) AS prompt_tokens_per_1000,
  1000 * sum(l.cached_tokens)::BIGINT / sum(l.n_features) AS cached_tokens_per_1000,
  1000 * sum(l.completion_tokens)::BIGINT / sum(l.n_features) AS completion_tokens_per_1000,
  1000 * sum(l.hours) / sum(l.n_features) AS hours_per_1000,
  1000 * sum(l.usd) / sum(l.n_features) AS usd_per_1000,
  sum(l.cached_tokens)::BIGINT / nullif(sum(l.prompt_tokens)::BIGINT, 0) AS cached_share,
  sum(l.shareable_tokens)::BIGINT / nullif(sum(l.comparable_tokens)::BIGINT, 0) AS shareable_share,
  1000 * any_value(b.prompt_tokens / b.n_estimated) AS at_most_prompt_tokens_per_1000,
  1000 * any_value(b.completion_tokens / b.n_estimated) AS at_most_completion_tokens_per_1000,
  1000 * any_value(p.p1_prompt_tokens_per_feature) AS p1_prompt_tokens_per_1000,
  1000 * any_value(p.p1_cacheable_tokens_per_feature) AS p1_cacheable_tokens_per_1000,
  1000 * any_value(p.p1_completion_tokens_per_feature) AS p1_completion_tokens_per_1000
FROM cost_by_dictionary l LEFT JOIN published p USING (asset)
  LEFT JOIN bounds b ON b.asset = l.asset AND b.explanation_method = l.explanation_method AND b.model = l.model AND b.n_estimated > 0
GROUP BY l.asset, l.explanation_method, l.model
ORDER BY l.asset, l.explanation_method
