-- Features that no method explains: for each the best of its explanations, by the mean over scorers of (score - floor) / (1 - floor), worst
-- features first. 0 is what knowing nothing reaches, 1 is perfect. Scores with no best value, such as a gain in nats, and scores whose floor is
-- unknown do not count. Baselines do not count as explanations.
WITH normalised AS (
  SELECT dictionary, feature, explanation_method, avg((value - floor) / (1 - floor)) AS above_floor, count(*) AS n_scorers
  FROM scores
  WHERE headline AND value IS NOT NULL AND floor < 1
    AND metric IN ('balanced_accuracy', 'auroc', 'average_precision', 'accuracy', 'pearson', 'gini', 'success', 'rise')
    AND NOT starts_with(explanation_method::VARCHAR, 'shuffled') AND explanation_method NOT IN ('constant', 'none')
  GROUP BY ALL
)
SELECT n.dictionary, n.feature, n.above_floor, n.n_scorers, n.explanation_method, e.explanation, s.token_density, s.top_token_share
FROM normalised n
JOIN explanations e USING (dictionary, feature, explanation_method)
LEFT JOIN feature_statistics s USING (dictionary, feature)
QUALIFY row_number() OVER (PARTITION BY n.dictionary, n.feature ORDER BY n.above_floor DESC, n.explanation_method) = 1
ORDER BY dictionary, above_floor, feature
