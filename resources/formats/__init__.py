"""Formats of other tools, read and written: one file a format. They know files and arrays, and nothing of the graph."""
