"""Tokens of prompts and answers: choices, answer places, prefixes and suffixes."""
