"""The asset `human_ratings`."""
