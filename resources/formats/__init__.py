"""Formats of other tools, read and written, one file a format. This package knows files and arrays, and nothing of the graph."""
