"""Planted features: rules with a known meaning, claims about these rules, and what scorers make of true and false claims."""
