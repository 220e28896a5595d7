-- How alike the features of two dictionaries are: decoder cosines of matched features, and for each explanation method how alike their
-- explanations are, beside the control, the explanation of a random feature of the other dictionary. Nearest matches may share a feature,
-- one-to-one matches do not. One row per method that both dictionaries ask for; one without method where there is none.
WITH first AS (
  SELECT dictionary, other_dictionary, assignment, feature, cosine,
    unnest(CASE WHEN len(explanations) > 0 THEN explanations ELSE [NULL] END) AS explained
  FROM feature_matches WHERE rank = 0
), methods AS (
  SELECT dictionary, other_dictionary, assignment, explained.explanation_method AS explanation_method,
    count(explained.cosine) AS n_explained,
    median(explained.cosine) AS median_explanation_cosine,
    median(explained.control_cosine) AS median_control_cosine,
    avg(explained.cosine - explained.control_cosine) AS mean_over_control,
    avg((explained.cosine > explained.control_cosine)::DOUBLE) AS share_over_control
  FROM first WHERE explained IS NOT NULL GROUP BY ALL
), pairs AS (
  SELECT dictionary, other_dictionary, assignment,
    count(*) AS n_features,
    count(cosine) AS n_matched,
    median(cosine) AS median_cosine,
    avg((cosine > 0.7)::DOUBLE) AS share_above_07
  FROM feature_matches WHERE rank = 0 GROUP BY ALL
)
SELECT pairs.*, explanation_method, n_explained, median_explanation_cosine, median_control_cosine, mean_over_control, share_over_control
FROM pairs LEFT JOIN methods USING (dictionary, other_dictionary, assignment)
ORDER BY dictionary, other_dictionary, assignment, explanation_method
