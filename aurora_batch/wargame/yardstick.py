"""The clairvoyant: what a step could have been worth, had all of its requests been known.

Pools and budgets are whole again in every step, so where no request can wait the best of a run is
the sum of the best of its steps. A step's optimum is the best allocation known: that of a solve
with more work than there is on the live path, or a player's where it is worth as much or more. So
nobody's regret is negative, and the clairvoyant's own is zero. The bound beside it is proven: no
allocation at all is worth more, and where the two meet the optimum is exact.
"""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa

from aurora_batch import allocation, policies
from aurora_batch.fleet import Fleet
from aurora_batch.hindsight import Piece, chosen
from aurora_batch.settings import Settings


class Optimum(NamedTuple):
    """The best known value of a step or a run, and the proven limit above it."""

    value: float
    bound: float


NOTHING = Optimum(0.0, 0.0)


def of_step(
    requests: pa.Table, fleet: Fleet, settings: Settings, known: Sequence[float]
) -> Optimum:
    """Return the optimum of the requests of one step, (`known` are values that players reached)."""
    if not requests.num_rows:
        return NOTHING
    task = Piece.of(requests, fleet, settings).task
    made = policies.decide_globally(task)
    assert made.allocation is not None
    value, bound = made.value, made.allocation.bound
    if made.allocation.gap > 0:
        more = allocation.solve(task.problem, method="auto")
        value, bound = max(value, more.value), min(bound, more.bound)
    value = max(value, *known)
    return Optimum(value, max(value, bound))


def value_of(requests: pa.Table, decisions: pa.Table, fleet: Fleet, settings: Settings) -> float:
    """Return the value of decisions at the scores of the step's start."""
    return Piece.of(requests, fleet, settings).value(chosen(decisions, fleet))


def regret(value: float, optimum: float) -> float:
    """Return (optimum - value) / optimum, 0 where the optimum is 0."""
    return (optimum - value) / optimum if optimum else 0.0
