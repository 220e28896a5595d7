"""The asset `feature_neighbours`."""
