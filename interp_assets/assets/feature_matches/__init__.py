"""The asset `feature_matches`."""
