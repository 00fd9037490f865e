"""Slow, obvious twin of the annealing kernel: every step is weighed from scratch."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from kernels.anneal import CHANCES, DEPTH, LEAST_GAIN, OWED_SLACK, PARTNERS, TRY_WORK
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

    def owed(of: list[int]) -> float:
        over = [(x, c) for x, c in zip(left_over(rows, supply, of), charge, strict=True) if x < 0]
        return sum(fee - c * x for x, c in over)

    def score(of: list[int]) -> float:
        return worth(rows, of) - owed(of)

    stream, n, work = Stream(state), len(choice), len(choice)
    before = most = worth(rows, best)
    rings = rings_of(rows, supply, choice)
    while work < limit and n > 0:
        work += TRY_WORK
        i = stream.below(n)
        listed = [*pairs(rows, i), -1]
        e = listed[stream.below(len(listed))]
        enough = heat * np.log((stream.below(CHANCES) + 0.5) / CHANCES)
        gained = worth(rows, [e]) - worth(rows, [choice[i]])
        if e == choice[i] or gained + OWED_SLACK + owed(choice) < enough:
            continue
        tried, steps, seen = chained(rows, supply, choice, rings, i, e, score, stream)
        work += seen
        if score(tried) - score(choice) < enough:
            for i, e in reversed(steps):
                tried = exchanged(rows, tried, rings, i, e)
            continue
        choice = tried
        fits = min(left_over(rows, supply, choice), default=0.0) >= 0.0
        if fits and worth(rows, choice) > most + LEAST_GAIN:
            most, best = worth(rows, choice), choice
    return choice, best, most - before, work, stream.state


def chained(
    rows: Rows, supply: Supply, choice: list[int], rings: list[list[int]], i: int, e: int,
    score: Callable[[list[int]], float], stream: Stream,
) -> tuple[list[int], list[tuple[int, int]], int]:  # fmt: skip
    """Choice after a chain that begins with pair e for request i, who had what, and pairs seen."""
    steps, seen = [(i, choice[i])], 0
    tried = exchanged(rows, choice, rings, i, e)
    while e >= 0 and left_over(rows, supply, tried)[rows.pool[e]] < 0 and len(steps) <= DEPTH:
        looked = looked_at(rings[rows.pool[e]], i, 1 + stream.below(PARTNERS))
        seen += sum(len(pairs(rows, j)) for j in looked)
        found = leaving(rows, tried, looked, score)
        if found is None:
            break
        i, e = found
        steps.append((i, tried[i]))
        tried = exchanged(rows, tried, rings, i, e)
    return tried, steps, seen


def rings_of(rows: Rows, supply: Supply, choice: list[int]) -> list[list[int]]:
    """Requests of each pool."""
    rings: list[list[int]] = [[] for _ in supply.capacity]
    for i, e in enumerate(choice):
        if e >= 0:
            rings[rows.pool[e]].append(i)
    return rings


def looked_at(ring: list[int], came: int, size: int) -> list[int]:
    """Who may leave a ring, from which the next look goes on."""
    looked, ring[:] = ring[:size], ring[size:] + ring[:size]
    return [j for j in looked if j != came]


def leaving(
    rows: Rows, choice: list[int], looked: list[int], score: Callable[[list[int]], float]
) -> tuple[int, int] | None:
    """Who gains most by another pair, or none, and which; None where nobody gains."""
    top, found = LEAST_GAIN, None
    for j in looked:
        for f in [-1, *pairs(rows, j)]:
            gain = score([*choice[:j], f, *choice[j + 1 :]]) - score(choice)
            if f != choice[j] and gain > top + LEAST_GAIN:
                top, found = gain, (j, f)
    return found


def exchanged(rows: Rows, choice: list[int], rings: list[list[int]], i: int, e: int) -> list[int]:
    """The choice with pair e for request i, which goes to the end of its ring."""
    if choice[i] >= 0:
        rings[rows.pool[choice[i]]].remove(i)
    if e >= 0:
        rings[rows.pool[e]].append(i)
    return [*choice[:i], e, *choice[i + 1 :]]


def pairs(rows: Rows, i: int) -> range:
    """Pairs of a request."""
    return range(rows.start[i], rows.start[i + 1])
