"""How many rounds: a part of them in each run, all of them with `AURORA_ROUNDS=full`."""

import os


def rounds(ordinary: int, full: int) -> int:
    """Return how many rounds to run; the first ones are the same in both."""
    return full if os.environ.get("AURORA_ROUNDS") == "full" else ordinary
