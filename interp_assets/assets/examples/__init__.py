"""The asset `examples`."""
