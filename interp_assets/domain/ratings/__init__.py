"""People's ratings, rating tasks, and how scorers correlate with people."""
