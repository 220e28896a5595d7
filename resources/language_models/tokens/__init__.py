"""Tokens of requests, and the answers and probabilities read from tokens."""
