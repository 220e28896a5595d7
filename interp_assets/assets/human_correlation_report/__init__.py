"""The asset `human_correlation_report`."""
