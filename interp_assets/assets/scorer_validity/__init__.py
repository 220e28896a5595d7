"""The asset `scorer_validity`."""
