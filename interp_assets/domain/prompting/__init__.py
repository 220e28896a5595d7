"""Prompts: how windows are rendered, how replies are parsed, and how similar texts are."""
