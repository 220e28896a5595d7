"""Partitions, range stages, data versions, and runs over partitions."""
