"""Faults on purpose, from a seed, while a shop's events pass through real workers: at the end all must be exact.

`make torture SEEDS=20` runs seeds 0 to 19, `make torture SEED=7` that one again.
"""
