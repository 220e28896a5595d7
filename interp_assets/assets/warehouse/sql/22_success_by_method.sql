-- How often descriptions succeed by inputs (does the feature fire on texts written after them?) and by outputs (are its steered texts told
-- from others by them?), our own and those of imported results in one form: share of features with its 95 % Wilson interval, and chance.
-- A success by outputs is a majority of the feature's questions: of n with chance p each, Σ C(n, k) pᵏ (1 - p)ⁿ⁻ᵏ over k > n / 2. Chance by inputs
-- depends on how often the feature fires; it is null for imported results, which do not say so.
-- arXiv 2501.08319 reports these shares by method. `n_unscored` features have a description of which nothing is known.
WITH ends AS (
  SELECT dictionary::VARCHAR AS dictionary, 'own' AS origin, explanation_method::VARCHAR AS explanation_method, scorer::VARCHAR AS scorer,
    value > 0.5 AS success,
    CASE WHEN scorer = 'input_based' THEN floor ELSE list_sum(list_transform(
      range(n_positive::BIGINT // 2 + 1, n_positive::BIGINT + 1),
      lambda k: exp(lgamma(n_positive + 1) - lgamma(k + 1) - lgamma(n_positive - k + 1)) * floor ** k * (1 - floor) ** (n_positive - k)
    )) END AS floor
  FROM scores WHERE headline AND scorer IN ('input_based', 'output_based') AND outcome <> 'no_explanation'
  UNION ALL
  SELECT dictionary, 'imported', explanation_method, 'input_based', input_success, NULL FROM imported_successes
  UNION ALL
  SELECT dictionary, 'imported', explanation_method, 'output_based', output_success, 1 / 3 FROM imported_successes
), counted AS (
  SELECT dictionary, origin, explanation_method, scorer, count(success) AS n, count(*) FILTER (success) AS successes,
    count(*) - count(success) AS n_unscored, avg(floor) FILTER (success IS NOT NULL) AS floor, 1.959963984540054::DOUBLE AS z
  FROM ends GROUP BY ALL
), wilson AS (
  SELECT *, successes / n AS rate, (successes / n + z * z / (2 * n)) / (1 + z * z / n) AS centre,
    z / (1 + z * z / n) * sqrt(successes / n * (1 - successes / n) / n + z * z / (4 * n * n)) AS half
  FROM counted WHERE n > 0
)
SELECT dictionary, explanation_method, scorer, origin, n, successes, rate, greatest(0, centre - half) AS ci_low,
  least(1, centre + half) AS ci_high, floor, n_unscored
FROM wilson
ORDER BY dictionary, scorer, origin DESC, rate DESC, explanation_method
