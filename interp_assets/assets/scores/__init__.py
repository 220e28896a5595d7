"""The asset `scores`."""
