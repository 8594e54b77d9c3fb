"""Prejoin's engine: folds domain events into entities and keeps pre-joined views over them."""
