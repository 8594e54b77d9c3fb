"""Who may read what: API keys, tokens of an identity provider, and how much of it in which time."""
