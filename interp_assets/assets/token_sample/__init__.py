"""The asset `token_sample`."""
