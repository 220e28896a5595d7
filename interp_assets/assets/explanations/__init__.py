"""The asset `explanations`."""
