"""How an explanation is put to the sentence encoder, the same wherever windows are compared with one."""

QUERY_INSTRUCTION = "A text that fits this description:"
"""Stands before the explanation, so that it is embedded as a search for texts rather than as a text."""


def query(explanation: str) -> str:
    """The explanation as a query for the windows that it describes."""
    return f"{QUERY_INSTRUCTION} {explanation}"
