"""Windows of tokens: how windows are cut, drawn and capped, and the silent windows that are drawn for a feature."""
