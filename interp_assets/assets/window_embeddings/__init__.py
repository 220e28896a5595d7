"""The asset `window_embeddings`."""
