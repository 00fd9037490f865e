"""The story in one page: a batch of requests, a fleet and a state become decisions.

    (batch, fleet, state) -> (decisions, state, record)

One pure step without I/O, clock or randomness; stream, replay, war game, gateway and benchmarks all
call it, so a decision is the same wherever it is made. Time comes in with the data. The state is
the ledger (what is left of pools and budgets in this window), the outlook (recent demand and the
reserve prices that keep capacity for what the window will still bring) and the shadow prices of the
batch before, from which the next solve starts.

    decide(requests)                    splits at window ends
      step(batch)
        ledger.enter(window)            capacity and budgets, whole again in a new window
        outlook.enter                   reserve prices, solved again where they are due
        scoring.columns(batch)          requests as columns, grouped in classes
        policies.decide_globally        everybody's best offer where nothing is scarce, else
          scoring.feasible_rows           all feasible pairs, as values
          allocation.solve                prices, assignment, certificate
        remedies.remedy                 what would have placed the refused, at the prices
        decisions.coded                 reasons, alternatives
        outlook.observe                 the batch as a part of recent demand
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property
from itertools import pairwise, repeat

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch import decisions, ledger, outlook, scoring
from aurora_batch.allocation import Allocation, Prices, SparseProblem
from aurora_batch.fleet import Fleet
from aurora_batch.ledger import Ledger
from aurora_batch.model import Policy
from aurora_batch.outcomes import marginal_prices, outcome
from aurora_batch.outlook import Outlook
from aurora_batch.policies import (
    NO_SAFETY,
    Made,
    Safety,
    Task,
    certified,
    decide_globally,
    decide_greedily,
)
from aurora_batch.schema import Decisions, microseconds_of
from aurora_batch.scoring import Tenants
from aurora_batch.settings import Settings
from kernels.pairs import Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class RouterState:
    """What one batch leaves to the next; never changed in place."""

    ledger: Ledger
    outlook: Outlook = field(default_factory=Outlook)
    prices: Prices | None = None  # of the batch before, for the pools of `fleet_version`
    fleet_version: str = ""
    shard: str = ""  # tells the batch ids of several workers apart


@dataclass(frozen=True)
class BatchRecord:
    """The certificate and the figures of one batch."""

    batch_id: str
    window_us: int  # start of the window, microseconds since the epoch
    requests: int
    served: int
    late: int  # requests of older windows, decided in this one
    policy: Policy
    value: float  # in the objective of `global`, whatever the policy
    bound: float  # none is worth more, at the reserve prices; NaN where none was computed
    status: str  # why the solve stopped; "sequential" where none ran
    work: int  # units that the solve did
    struck: bool  # the clock ended it at that unit; `Safety(stop_at=work)` repeats it
    pool_prices: F64  # (k,) value per GPU-hour, >= 0; reserve prices included
    budget_prices: F64  # (t,) value per USD, >= 0; the same
    reserve: Prices | None  # None where the batch was decided without looking ahead
    pool_left: F64  # (k,) GPU-hours after the batch
    budget_left: F64  # (t,) USD after the batch
    solve_seconds: float

    @property
    def gap(self) -> float:
        """(bound - value) / bound; 0 where the bound is 0, NaN where there is none."""
        return (self.bound - self.value) / self.bound if self.bound else 0.0


@dataclass(frozen=True)
class Step:
    """What one batch became.

    `problem()` builds the problem that `allocation` solves, for `allocation.check`; decisions are
    made when they are first looked at. Under `greedy` the allocation is a solve beside the
    sequential decisions, and only there where the step was asked to certify, or is `certified()`.
    """

    requests: pa.Table
    task: Task
    made: Made
    stamp: decisions.Stamp
    state: RouterState
    batch: BatchRecord

    @cached_property
    def decisions(self) -> pa.Table:
        """A decision for each request, in their order (`schema.DECISION_SCHEMA`)."""
        return self.coded.to_table()

    @cached_property
    def coded(self) -> Decisions:
        """The same, as they are made."""
        said = outcome(self.task, self.made)
        return decisions.coded(self.requests, self.task.columns, self.task.fleet, said, self.stamp)

    @property
    def offer(self) -> I32:
        """Fleet offer of each request, (n,), -1 = refused."""
        return self.made.offer

    @property
    def allocation(self) -> Allocation | None:
        """The solve and its certificate, where there was one."""
        return self.made.allocation

    def problem(self) -> SparseProblem:
        """Return the batch as an allocation problem."""
        return self.task.problem

    def certified(self) -> "Step":
        """Return the same decisions with a bound, and prices to start the next solve from."""
        made = certified(self.task, self.made)
        record = _record(self.stamp, made, self.state.ledger, self.batch.reserve, self.batch.late)
        state = replace(self.state, prices=_prices(made, self.task))
        return replace(self, made=made, state=state, batch=record)


def initial_state(fleet: Fleet, settings: Settings, shard: str = "") -> RouterState:
    """Return the state before the first request ever."""
    return RouterState(Ledger.whole(fleet, Tenants.from_settings(settings)), shard=shard)


def decide(
    requests: pa.Table,
    fleet: Fleet,
    state: RouterState,
    settings: Settings,
    *,
    policy: Policy | None = None,
    certify: bool = False,
    safeties: Iterable[Safety] = repeat(NO_SAFETY),
) -> Iterator[Step]:
    """Decide requests in log order: a step for each window that they reach.

    A request of an older window than the latest one seen is late: it is decided with its
    neighbours, in the current window. `safeties` are those of the steps, no fewer.
    """
    event_us = microseconds_of(requests["requested_at"])
    reached = ledger.window_of(event_us, _window_us(settings))
    reached = np.maximum(np.maximum.accumulate(reached), state.ledger.window_us)
    cuts = [0, *(np.flatnonzero(np.diff(reached)) + 1).tolist(), requests.num_rows]
    spans = (requests.slice(low, high - low) for low, high in pairwise(cuts) if low < high)
    for batch, safety in zip(spans, safeties, strict=False):
        done = step(batch, fleet, state, settings, policy=policy, certify=certify, safety=safety)
        state = done.state
        yield done


def step(
    requests: pa.Table,
    fleet: Fleet,
    state: RouterState,
    settings: Settings,
    *,
    policy: Policy | None = None,
    certify: bool = False,
    safety: Safety = NO_SAFETY,
) -> Step:
    """Decide one batch together, in the latest window that one of its requests reaches.

    Parameters
    ----------
    requests
        Canonical requests (`schema.REQUEST_SCHEMA`); may be empty.
    policy
        Instead of the configured one.
    certify
        Solve for a bound under `greedy` too (`global` always has one).
    safety
        A deadline for the solve, or the units of work at which one struck, to decide alike.
    """
    policy = policy or settings.router.effective_policy
    tenants = Tenants.from_settings(settings)
    event_us = microseconds_of(requests["requested_at"])
    windows = ledger.window_of(event_us, _window_us(settings))
    window_us = int(max(windows.max(initial=ledger.NO_WINDOW), state.ledger.window_us))
    opened = state.ledger.enter(window_us, fleet, tenants)
    ahead = policy is Policy.GLOBAL and settings.router.lookahead.enabled
    seen, reserve = state.outlook, None
    if ahead:
        first_us = int(max(event_us.min(initial=window_us), window_us))
        seen = outlook.enter(seen, opened, first_us, fleet, settings)
        reserve = seen.prices
    task = Task(
        scoring.columns(requests, fleet, tenants),
        fleet,
        Supply(opened.pool_left.copy(), opened.pool_total.copy(), opened.budget_left.copy()),
        settings.router,
        state.prices if state.fleet_version == fleet.version else None,
        safety,
        reserve,
    )
    made = decide_greedily(task, certify) if policy is Policy.GREEDY else decide_globally(task)
    after = opened.spend(made.left.left, made.left.budget)
    stamp = decisions.Stamp(
        _batch_id(state.shard, window_us, after.batches),
        window_us,
        int(max(event_us.max(initial=window_us), window_us)),
        policy,
    )
    if ahead:
        seen = outlook.observe(seen, event_us, requests, after, settings)
    late = int((windows < window_us).sum())
    return Step(
        requests,
        task,
        made,
        stamp,
        RouterState(after, seen, _prices(made, task), fleet.version, state.shard),
        _record(stamp, made, after, reserve, late),
    )


def _prices(made: Made, task: Task) -> Prices | None:
    """Prices to start the next solve from: those of the last one that found something scarce.

    A pool with no room for any request of the batch took no part in the solve and has no price
    there, nor have budgets that no request draws on; they keep those that they had.
    """
    solved, warm = made.allocation, task.warm
    if solved is None or not (solved.pool_prices.any() or solved.budget_prices.any()):
        return warm
    if warm is None:
        warm = Prices(solved.pool_prices, np.zeros(task.supply.budget.size))
    full = task.supply.left < task.columns.requests.hours.min(initial=np.inf)
    budget = solved.budget_prices if task.budgeted else warm.budget
    return Prices(np.where(full, warm.pool, solved.pool_prices), budget)


def _record(
    stamp: decisions.Stamp, made: Made, after: Ledger, reserve: Prices | None, late: int
) -> BatchRecord:
    solved = made.allocation
    none = Prices(np.zeros(after.pool_left.size), np.zeros(after.budget_left.size))
    prices = marginal_prices(solved, reserve or none) if solved else none
    return BatchRecord(
        batch_id=stamp.batch_id,
        window_us=stamp.window_us,
        requests=made.offer.size,
        served=int((made.offer >= 0).sum()),
        late=late,
        policy=stamp.policy,
        value=made.value,
        bound=_bound(solved, made.value, reserve) if solved else float("nan"),
        status=solved.status if solved else "sequential",
        work=solved.work if solved else 0,
        struck=solved.struck if solved else False,
        pool_prices=prices.pool,
        budget_prices=prices.budget,
        reserve=reserve,
        pool_left=after.pool_left,
        budget_left=after.budget_left,
        solve_seconds=solved.seconds if solved else 0.0,
    )


def _bound(solved: Allocation, value: float, reserve: Prices | None) -> float:
    """Return the bound of the batch, without what the reserve prices keep for later ones."""
    return solved.bound if reserve is None else value + (solved.bound - solved.value)


def _window_us(settings: Settings) -> int:
    return max(1, round(settings.router.window_s * 1e6))


def _batch_id(shard: str, window_us: int, number: int) -> str:
    """`20261121T101500Z-3`: the third batch of that window; behind a shard's name if it has one."""
    start = "start"
    if window_us > ledger.NO_WINDOW:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=window_us)
        start = f"{moment:%Y%m%dT%H%M%S}{f'.{moment.microsecond:06d}' * bool(moment.microsecond)}Z"
    return f"{shard}-{start}-{number}" if shard else f"{start}-{number}"
