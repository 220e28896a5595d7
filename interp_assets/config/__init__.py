"""Settings, dictionary records and their keys."""
