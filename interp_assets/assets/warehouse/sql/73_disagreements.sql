-- Explanations that two scorers place far apart: the share of the dictionary's explanations that each puts below this one, and the gap.
-- Where to look first for a scorer's blind spots: the 200 widest gaps of each two scorers in a dictionary, in each direction.
WITH placed AS (
  SELECT dictionary, feature, explanation_method, scorer::VARCHAR AS scorer, value,
    percent_rank() OVER (PARTITION BY dictionary, scorer ORDER BY value) AS place
  FROM scores
  WHERE headline AND value IS NOT NULL AND NOT starts_with(explanation_method::VARCHAR, 'shuffled') AND explanation_method NOT IN ('constant', 'none')
)
SELECT dictionary, feature, explanation_method, explanation, high_scorer, high_value, high_place, low_scorer, low_value, low_place, gap
FROM (
  SELECT a.dictionary, a.feature, a.explanation_method, a.scorer AS high_scorer, a.value AS high_value, a.place AS high_place,
    b.scorer AS low_scorer, b.value AS low_value, b.place AS low_place, a.place - b.place AS gap
  FROM placed a JOIN placed b USING (dictionary, feature, explanation_method)
  WHERE a.place > b.place
  QUALIFY row_number() OVER (PARTITION BY dictionary, high_scorer, low_scorer ORDER BY gap DESC, feature, explanation_method) <= 200
)
JOIN explanations e USING (dictionary, feature, explanation_method)
ORDER BY gap DESC, dictionary, feature, explanation_method, high_scorer, low_scorer
