"""interp-assets: explain every feature of a sparse autoencoder, score the explanations, and say how far to trust the scores."""
