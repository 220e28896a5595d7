"""The asset `warehouse`."""
