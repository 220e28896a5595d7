-- What people said of each rated explanation, beside its headline score by every scorer (`scores` maps scorer to value; scorers that read no
-- explanation give the feature's). `rating` is on a scale from 0 to 1. `rater_kind` says whether people rated, or a generator.
WITH headline AS (
  SELECT dictionary, feature, explanation_method, scorer::VARCHAR AS scorer, value FROM scores WHERE headline AND value IS NOT NULL
), scored AS (
  SELECT r.dictionary, r.feature, r.explanation_id, h.scorer, avg(h.value) AS value
  FROM rated_explanations r JOIN headline h
    ON h.dictionary = r.dictionary AND h.feature = r.feature
    AND (h.explanation_method = 'none' OR list_contains(r.explanation_methods, h.explanation_method::VARCHAR))
  GROUP BY ALL
), mapped AS (
  SELECT dictionary, feature, explanation_id, map_from_entries(list((scorer, value) ORDER BY scorer)) AS scores FROM scored GROUP BY ALL
)
SELECT r.rater_kind, r.dictionary, r.feature, r.explanation_methods, r.explanation, r.rating, r.n_raters, r.n_contexts, r.n_ratings, r.outcome, m.scores
FROM rated_explanations r LEFT JOIN mapped m USING (dictionary, feature, explanation_id)
ORDER BY r.dictionary, r.feature, r.explanation_id
