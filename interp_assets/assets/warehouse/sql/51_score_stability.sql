-- What moves scores, and which differences they carry: one scorer of a dictionary a row. The shares of the variance of one score sum to 1; the
-- feature's is ICC(1). Means over n_compared features carry `between_dictionaries`, and `between_methods` on the same features: such
-- differences are significant at 5 % four times in five. What `difference` needs stands beside them; null where no number of windows does.
SELECT dictionary, scorer, explanation_method, judge, metric, n_features, n_windows, mean, icc, icc_low, icc_high,
  variance_draw / nullif(variance_feature + variance_draw + variance_explanation + variance_judge, 0) AS draw_share,
  variance_explanation / nullif(variance_feature + variance_draw + variance_explanation + variance_judge, 0) AS explanation_share,
  variance_judge / nullif(variance_feature + variance_draw + variance_explanation + variance_judge, 0) AS judge_share,
  rank_correlation, top_overlap, top_chance, shift, shift_low, shift_high, n_compared, between_dictionaries, between_methods, difference,
  features_for_dictionaries, features_for_methods, windows_for_dictionaries, windows_for_methods, outcome, in_words
FROM score_variances
ORDER BY dictionary, scorer
