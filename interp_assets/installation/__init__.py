"""One installation: its home folder, its Dagster server, registration of dictionaries, and the check of the whole."""
