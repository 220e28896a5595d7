"""The asset `token_changes`."""
