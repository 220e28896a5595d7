"""Planted features: rules with a known meaning, claims about them, and what they say about scorers."""
