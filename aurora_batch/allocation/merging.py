"""Merges: exact searches among the few pairs in which good plans of a small market differ.

Short annealings end at plans that have most pairs in common. What they agree on is kept, and the
best choice among their other pairs takes HiGHS a few nodes; it is often better than all of them
(for tours: Cook and Seymour 2003, doi:10.1287/ijoc.15.3.233.16078).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aurora_batch.allocation import annealing, dual, exact
from aurora_batch.allocation.core import Part, left_by, subset
from aurora_batch.allocation.meter import Meter
from aurora_batch.allocation.pricing import Market, Quotes
from kernels import repair
from kernels.repair import Plan

I32 = NDArray[np.int32]

MOST_OPEN = 800  # pairs of a market that short annealings search well
# Of the annealings in turn: share of the gap that their pairs may lose. In most markets no pair of
# the best plan loses much, and few pairs are searched soon; in some, one pair loses half.
SHARES = (0.3, 0.6)
# First and last heat, in what another pair loses; what each overbooked pool or budget costs, in
# heats; and work at each heat.
HOT, COLD, FEE = 0.3, 0.1, 5.0
HEAT_WORK = 25_000
KEPT = 6  # plans
# Pairs and nodes of a search, and the work that it is counted as: a start, and a pair in a node.
PAIRS, NODES = 32, 20
START_WORK, NODE_WORK = 400_000, 1_000


class Elite:
    """The best plans so far of a market, merged with each that is new."""

    def __init__(self, market: Market, quotes: Quotes, plan: Plan) -> None:
        self._market, self._quotes = market, quotes
        self._plans = [(repair.worth(market.rows, plan), plan)]
        rows = market.rows
        self._request = np.repeat(np.arange(rows.start.size - 1), np.diff(rows.start))
        self._searched: set[bytes] = set()

    @property
    def best(self) -> Plan:
        """The plan worth most."""
        return self._plans[0][1]

    def go_on(self, meter: Meter, seed: int, turn: int) -> Plan:
        """Anneal once from nothing, merge what that finds, and return the best plan."""
        plan = annealed(self._market, self._quotes, self.best, meter, seed, SHARES[turn % 2])
        if self.keep(plan) and not meter.spent():
            others = [p for _, p in self._plans if p is not plan and p is not self.best]
            merged = self._merged([self.best, plan, *others], meter)
            if merged is not None:
                self.keep(merged)
        return self.best

    def keep(self, plan: Plan) -> bool:
        """Put a plan among the best; return whether it is one of them and new."""
        if any((plan.choice == p.choice).all() for _, p in self._plans):
            return False
        self._plans.append((repair.worth(self._market.rows, plan), plan))
        self._plans = sorted(self._plans, key=lambda kept: -kept[0])[:KEPT]
        return any(p is plan for _, p in self._plans)

    def _merged(self, plans: Sequence[Plan], meter: Meter) -> Plan | None:
        """Search among the pairs in which plans differ; None where there are none to search."""
        rows, supply = self._market.rows, self._market.supply
        choices = alike([plan.choice for plan in plans], PAIRS)
        same = (choices == choices[0]).all(axis=0)
        differing, agreed = choices[:, ~same], choices[0][same]
        pairs = np.unique(differing[differing >= 0]).astype(np.int64)
        asked = agreed.tobytes() + pairs.tobytes()
        seconds = meter.seconds_left()
        if not pairs.size or asked in self._searched:
            return None
        if seconds is not None and seconds <= exact.SAFETY_S:
            meter.strike()
            return None
        self._searched.add(asked)
        part = subset(rows, pairs, self._request[pairs], np.flatnonzero(~same))
        left = left_by(rows, supply, self._request, agreed[agreed >= 0])
        limit = None if seconds is None else seconds - exact.SAFETY_S
        found = exact.best_choice(part, left, NODES, limit)
        if found.timed_out:  # what it found by then depends on the machine
            meter.strike()
            return None
        meter.count(START_WORK + NODE_WORK * pairs.size * found.nodes)
        choice = choices[0].copy()
        choice[~same] = np.where(found.choice >= 0, part.pair[found.choice], np.int32(-1))
        return dual.plan_of(self._market, choice, self._quotes)


def annealed(
    market: Market, quotes: Quotes, plan: Plan, meter: Meter, seed: int, share: float
) -> Plan:
    """Return the best plan of an annealing that begins where all open requests are refused.

    Which are open is told by the value of `plan`; what comes back may be worth less.
    """
    part = Part(market, quotes, plan, share)
    if part.empty:
        return plan
    spread = annealing.loss_of_another(market, quotes)
    best = annealing.cooled(
        part, annealing.charges(market, quotes.prices, spread),
        np.full_like(part.start.choice, -1), spread * np.geomspace(HOT, COLD, annealing.HEATS),
        FEE, HEAT_WORK, HEAT_WORK, meter, seed,
    )  # fmt: skip
    return part.plan_of(best)


def alike(choices: Sequence[I32], most: int) -> I32:
    """The first choice and those after it, (x, n), as long as they differ in at most `most` pairs.

    One that takes too many is left out, and the next is looked at.
    """
    taken = np.array(choices[:1])
    for choice in choices[1:]:
        more = np.vstack([taken, choice])
        differing = np.unique(more[:, (more != more[0]).any(axis=0)])
        if np.count_nonzero(differing >= 0) <= most:
            taken = more
    return taken
