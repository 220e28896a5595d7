"""Metrics, intervals, agreement, rank correlation and power."""
