-- Each feature's explanation against another feature's explanation on the same windows: `lift` is what the text itself is worth.
SELECT real.dictionary, real.feature, real.scorer, real.metric, real.explanation_method,
  real.value, shuffled.value AS shuffled_value, real.value - shuffled.value AS lift
FROM scores real
JOIN scores shuffled
  ON shuffled.explanation_method = 'shuffled' AND real.explanation_method <> 'shuffled'
  AND real.dictionary = shuffled.dictionary AND real.feature = shuffled.feature
  AND real.scorer = shuffled.scorer AND real.metric = shuffled.metric
WHERE real.stratum IS NULL AND shuffled.stratum IS NULL
ORDER BY real.dictionary, real.scorer, real.metric, lift DESC NULLS LAST
