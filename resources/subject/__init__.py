"""The subject model: hooks, activations, steering, clamping, tokenizer and unembedding."""
