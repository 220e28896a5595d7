-- The sanity checks of arXiv 2506.05774, one metric of a scorer a row: does its score fall when the explanation of a planted feature is false, too
-- narrow (labels are missing) or too broad (labels are extra)? `…_fall` is the mean fall from the true explanation, with what it means beside
-- it: passes, fails or cannot_tell. Intervals and medians are in the table scorer_validity.
SELECT dictionary, scorer, judge, metric, headline, max(n_features) AS n_features, max(mean_true) AS mean_true,
  max(mean_perturbed) FILTER (perturbation = 'false') AS mean_false,
  max(difference) FILTER (perturbation = 'false') AS false_fall, max(outcome::VARCHAR) FILTER (perturbation = 'false') AS false_outcome,
  max(difference) FILTER (perturbation = 'narrowed') AS narrowed_fall, max(outcome::VARCHAR) FILTER (perturbation = 'narrowed') AS narrowed_outcome,
  max(difference) FILTER (perturbation = 'broadened') AS broadened_fall, max(outcome::VARCHAR) FILTER (perturbation = 'broadened') AS broadened_outcome
FROM scorer_validity
GROUP BY dictionary, scorer, judge, metric, headline
ORDER BY dictionary, scorer, headline DESC, metric
