"""The `transformers` back end: a Hugging Face model in process."""
