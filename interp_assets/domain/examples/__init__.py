"""Windows of tokens: how they are cut, drawn and capped, and the silent windows beside them."""
