-- Headline scores that are estimates (`scoring.prediction_powered`): how far the dictionary's mean over n_features may lie from the mean that
-- all of their windows would give (95 %), and the rank correlation to expect of the estimates with the scores of all windows.
-- The mean's interval has sum(sampling_error²) / n² as variance, since features are sampled apart. The expected correlation is √(1 - the mean
-- squared sampling error / the variance of the estimates), null where sampling may explain all of this variance.
SELECT dictionary, scorer, explanation_method, metric,
  count(*) AS n_features,
  avg(asked_share) AS asked_share,
  avg(value) AS mean,
  mean - 1.959964 * sqrt(sum(sampling_error ** 2)) / count(*) AS ci_low,
  mean + 1.959964 * sqrt(sum(sampling_error ** 2)) / count(*) AS ci_high,
  sqrt(avg(sampling_error ** 2)) AS sampling_error,
  CASE WHEN count(*) >= 4 AND avg(sampling_error ** 2) < var_samp(value) THEN sqrt(1 - avg(sampling_error ** 2) / var_samp(value)) END AS expected_correlation
FROM scores
WHERE headline AND value IS NOT NULL AND sampling_error IS NOT NULL
GROUP BY dictionary, scorer, explanation_method, metric
ORDER BY dictionary, scorer, explanation_method
