"""The command line: each command, its errors and its printing."""
