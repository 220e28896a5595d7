"""Imports from other tools' files and exports into other tools' files."""
