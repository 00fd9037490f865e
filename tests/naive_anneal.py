"""Slow, obvious twin of the annealing kernel: every try is weighed from scratch."""

import numpy as np
from numpy.typing import NDArray

from kernels.anneal import CHANCES, LEAST_GAIN, STEPS, TRY_WORK
from kernels.rows import ROOM, Rows, Supply

F64 = NDArray[np.float64]
WORD = 2**64 - 1


class Stream:
    """xorshift64* on Python's integers."""

    def __init__(self, state: int) -> None:
        self.state = state

    def step(self) -> int:
        """The next state."""
        x = self.state
        x ^= x >> 12
        x ^= x << 25 & WORD
        self.state = x ^ x >> 27
        return self.state

    def here(self, size: int) -> int:
        """A number in 0..size-1 from the state as it is."""
        return ((self.state * 0x2545F4914F6CDD1D & WORD) >> 32) * size >> 32

    def below(self, size: int) -> int:
        """A number in 0..size-1 from the next state."""
        self.step()
        return self.here(size)


def left_over(rows: Rows, supply: Supply, choice: list[int]) -> list[float]:
    """What is left of each pool and then of each budget; below 0 where overbooked."""
    left = [x * (1.0 + ROOM) for x in np.concatenate(supply).tolist()]
    for i, e in enumerate(choice):
        if e >= 0:
            left[rows.pool[e]] -= rows.demand[e]
            if rows.tenant.size and rows.tenant[i] >= 0:
                left[supply.capacity.size + rows.tenant[i]] -= rows.cost[e]
    return left


def worth(rows: Rows, choice: list[int]) -> float:
    """Value of a choice."""
    return float(sum(rows.value[e] for e in choice if e >= 0))


def anneal(
    rows: Rows, supply: Supply, charge: F64, fee: float, choice: list[int], best: list[int],
    heat: float, limit: int, state: int,
) -> tuple[list[int], list[int], float, int, int]:  # fmt: skip
    """Return choice, best, gain of the best, work and state, with nothing modified."""

    def score(of: list[int]) -> float:
        over = [(x, c) for x, c in zip(left_over(rows, supply, of), charge, strict=True) if x < 0]
        return worth(rows, of) - sum(fee - c * x for x, c in over)

    stream, n, work = Stream(state), len(choice), len(choice)
    before = most = worth(rows, best)
    while work < limit and n > 0:
        tried, steps = attempt(rows, supply, choice, stream)
        work += TRY_WORK + steps // STEPS
        if tried is None:
            continue
        chance = (stream.below(CHANCES) + 0.5) / CHANCES
        if score(tried) - score(choice) < heat * np.log(chance):
            continue
        choice = tried
        fits = min(left_over(rows, supply, choice), default=0.0) >= 0.0
        if fits and worth(rows, choice) > most + LEAST_GAIN:
            most, best = worth(rows, choice), choice
    return choice, best, most - before, work, stream.state


def attempt(
    rows: Rows, supply: Supply, choice: list[int], stream: Stream
) -> tuple[list[int] | None, int]:
    """Another choice, None where the one drawn is had already; and steps to the second request."""
    n, steps = len(choice), 0
    i = stream.below(n)
    listed = [*pairs(rows, i), -1]
    e = listed[stream.below(len(listed))]
    if e == choice[i]:
        return None, 0
    tried = list(choice)
    tried[i] = e
    swaps = stream.step() & 3 << 40
    if not swaps or e < 0 or left_over(rows, supply, choice)[rows.pool[e]] >= rows.demand[e]:
        return tried, 0
    first = stream.here(n)
    for steps in range(1, n + 1):
        j = (first + steps - 1) % n
        if j != i and choice[j] >= 0 and rows.pool[choice[j]] == rows.pool[e]:
            back = stream.step() & 1 << 8
            if choice[i] >= 0 and back:
                home = rows.pool[choice[i]]
                there = [x for x in pairs(rows, j) if rows.pool[x] == home]
                tried[j] = there[-1] if there else -1
            else:
                listed = [*pairs(rows, j), -1]
                tried[j] = listed[stream.here(len(listed))]
            break
    return tried, steps


def pairs(rows: Rows, i: int) -> range:
    """Pairs of a request."""
    return range(rows.start[i], rows.start[i + 1])
