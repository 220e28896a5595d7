"""The subject model and a dictionary at work: activations on a token sample and on texts, and feature directions."""
