-- Pairs of scorers of which one is demonstrably nearer to the ratings: paired bootstrap over features, after Holm over all pairs at 5 %. No
-- rows: the data order no two scorers; the table scorer_pairs then says which differences would have been found.
SELECT rater_kind,
  CASE WHEN difference > 0 THEN scorer ELSE other END::VARCHAR AS nearer, CASE WHEN difference > 0 THEN other ELSE scorer END::VARCHAR AS further,
  abs(difference) AS difference,
  CASE WHEN difference > 0 THEN ci_low ELSE -ci_high END AS ci_low, CASE WHEN difference > 0 THEN ci_high ELSE -ci_low END AS ci_high,
  p_adjusted, spearman AS spearman_with_each_other, n_explanations, n_features
FROM scorer_pairs WHERE differ
ORDER BY rater_kind, p_adjusted, difference DESC
