"""The back end that runs a model with transformers in this process."""
