"""The asset `score_stability`."""
