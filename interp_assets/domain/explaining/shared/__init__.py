"""Parts that several explainers share."""
