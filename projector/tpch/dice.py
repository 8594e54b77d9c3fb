"""Chance that is the same everywhere: numbers drawn from a key, not from a generator's state or Python's hash seed."""

_MASK = (1 << 64) - 1


def roll(key: int, salt: int) -> int:
    """Draw a whole number below 2^64 that depends on nothing but `key` and `salt` (splitmix64's mixer)."""
    z = (key * 0x9E3779B97F4A7C15 + salt * 0xD1B54A32D192ED03 + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)
