"""The asset `vocabulary_projections`."""
