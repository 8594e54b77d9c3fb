"""Commands for operators: verify, replay, check, status."""
