"""The back end that runs the vLLM engine in this process."""
