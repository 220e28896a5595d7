"""From a request to tokens, and from tokens to what they say."""
