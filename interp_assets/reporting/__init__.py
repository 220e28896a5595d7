"""Metadata, plots and pages that show results."""
