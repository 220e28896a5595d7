"""Steering: strengths, steered texts, and changes of the next token."""
