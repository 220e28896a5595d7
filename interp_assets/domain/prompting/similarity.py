"""The query that an explanation becomes for the sentence encoder, wherever windows are compared with an explanation."""

QUERY_INSTRUCTION = "A text that fits this description:"
"""Stands before the explanation, so that the explanation is embedded as a search for texts rather than as a text."""


def query(explanation: str) -> str:
    """The explanation as a query for the windows that it describes."""
    return f"{QUERY_INSTRUCTION} {explanation}"
