"""Questions to language models and to the sentence encoder, and the ledger of their cost."""
