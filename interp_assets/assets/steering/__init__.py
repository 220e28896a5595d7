"""The asset `steering`."""
