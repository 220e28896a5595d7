"""The `openai` back end: a client of servers that speak the OpenAI chat or completions API."""
