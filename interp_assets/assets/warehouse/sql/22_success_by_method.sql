-- How often descriptions succeed by inputs (does the feature fire on texts written after them?) and by outputs (are its steered texts told
-- from others by them?), our own and those of imported results in one form: share of features with its 95 % interval, and chance.
-- The interval is Wilson's with the quantile of t in z's place, since Wilson's own covers 85 % in places (t by Cornish and Fisher's expansion:
-- Abramowitz and Stegun 1964, 26.7.5); below 4 features there is none.
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
    count(*) - count(success) AS n_unscored, avg(floor) FILTER (success IS NOT NULL) AS floor,
    CASE WHEN count(success) >= 4 THEN count(success) - 1 END AS df
  FROM ends GROUP BY ALL
), quantiles AS (
  SELECT *, 1.959964 + 2.372271 / df + 2.822499 / df ** 2 + 2.555850 / df ** 3 + 1.589534 / df ** 4 AS z FROM counted WHERE n > 0
), wilson AS (
  SELECT *, successes / n AS rate, (successes / n + z * z / (2 * n)) / (1 + z * z / n) AS centre,
    z / (1 + z * z / n) * sqrt(successes / n * (1 - successes / n) / n + z * z / (4 * n * n)) AS half
  FROM quantiles
)
SELECT dictionary, explanation_method, scorer, origin, n, successes, rate, CASE WHEN df > 0 THEN greatest(0, centre - half) END AS ci_low,
  CASE WHEN df > 0 THEN least(1, centre + half) END AS ci_high, floor, n_unscored
FROM wilson
ORDER BY dictionary, scorer, origin DESC, rate DESC, explanation_method
