"""The outside world: models, dictionaries, corpora and stores. Nothing here imports `interp_assets`."""
