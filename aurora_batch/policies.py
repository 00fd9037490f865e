"""The two policies, `global` and `greedy`, over one batch at one supply (spec, section 4)."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurora_batch import allocation, scoring
from aurora_batch.allocation import Allocation, Prices, SparseProblem
from aurora_batch.fleet import Fleet
from aurora_batch.model import Scoring
from aurora_batch.scoring import Columns, Rows
from aurora_batch.settings import RouterSettings
from kernels import pairs, reserve
from kernels.greedy import greedy
from kernels.pairs import Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

# Pairs that a solve may visit. Counted work, never time, ends a solve on the live path, so every
# machine decides the same: so many for each configured millisecond of the deadline, which is what
# one core of a slow server does, and no more than a small batch repays (on 250 requests, 2 million
# instead of 1 bring 0.02 % of value and halve the throughput).
WORK_PER_MS = 80_000
SMALL_WORK = 1_000_000
SMALL_WORK_PER_PAIR = 200


class Safety(NamedTuple):
    """What ends a solve besides its counted work; by default nothing."""

    deadline_s: float | None = None  # a safety net, for live batches on a machine that is stuck
    stop_at: int | None = None  # `BatchRecord.work` where it struck, to repeat that batch


NO_SAFETY = Safety()


@dataclass(frozen=True)
class Task:
    """One batch to decide."""

    columns: Columns
    fleet: Fleet
    supply: Supply  # at the batch's start; never changed
    settings: RouterSettings
    warm: Prices | None = None  # of the batch before
    safety: Safety = NO_SAFETY
    reserve: Prices | None = None  # what capacity and budgets are kept for, (k,) and (t,)

    @cached_property
    def best(self) -> tuple[I32, F64]:
        """Best-scored feasible offer of each request (-1: none) and its score, both (n,)."""
        return scoring.best_pairs(self.columns, self.supply, self.settings.scoring)

    @property
    def best_score(self) -> F64:
        """Best score of each request (-1: no feasible offer), (n,)."""
        return self.best[1] if self.known_rows is None else self.known_rows.best

    @cached_property
    def worth(self) -> F64:
        """What each request's value is weighed by, (n,): priority, times GPU-hours if so set."""
        if self.settings.objective.weigh_by == "gpu_hours":
            return self.columns.priority * self.columns.requests.hours
        return self.columns.priority

    @cached_property
    def budgeted(self) -> bool:
        """Whether any request draws on a budget; else the problem has none."""
        return bool((self.columns.requests.tenant >= 0).any())

    @cached_property
    def rows(self) -> Rows:
        """Feasible pairs and their scores."""
        return scoring.feasible_rows(self.columns, self.supply, self.settings.scoring)

    @property
    def known_rows(self) -> Rows | None:
        """Feasible pairs and their scores where they were needed before, else None."""
        rows: Rows | None = self.__dict__.get("rows")
        return rows

    @cached_property
    def problem(self) -> SparseProblem:
        """The batch as an allocation problem over its feasible pairs.

        With reserve prices, values are what is left of them once these are paid.
        """
        requests = self.columns.requests
        rows = self.rows
        objective = self.settings.objective
        value = pairs.value_rows(
            rows.indptr, rows.scores, rows.best, self.worth,
            objective.serve_reward, objective.scale == "per_request",
        )  # fmt: skip
        if self.reserve is not None:
            blocks = self.columns.blocks
            value = reserve.reduced_values(
                rows.indptr, rows.indices, value, requests.hours, requests.tenant,
                blocks.pool, blocks.price, self.reserve.pool, self.reserve.budget,
            )  # fmt: skip
        return SparseProblem(
            data=value,
            indices=rows.indices,
            indptr=rows.indptr,
            demand=requests.hours,
            pool=self.columns.blocks.pool,
            capacity=self.supply.left,
            tenant=requests.tenant if self.budgeted else None,
            cost=pairs.cost_rows(
                rows.indptr, rows.indices, self.columns.blocks.price, requests.hours
            ) if self.budgeted else None,
            budget=self.supply.budget if self.budgeted else None,
            rest=self._values_left_out(rows.rest),
        )  # fmt: skip

    @cached_property
    def nearest(self) -> I64:
        """Position of each request's best pair in `problem`, (n,), -1 where it has none."""
        return reserve.best_of_rows(self.problem.indptr, self.problem.data)

    def nearest_of(self, rows: I64, left: Supply) -> I64:
        """Position of the best pair with room in what is left, else `nearest`, of some requests."""
        requests, blocks = self.columns.requests, self.columns.blocks
        best = reserve.best_that_fit(
            self.problem.indptr, self.problem.indices, self.problem.data, requests.hours,
            requests.tenant, blocks.pool, blocks.price, left.left, left.budget, rows,
        )  # fmt: skip
        return np.where(best >= 0, best, self.nearest[rows])

    def _values_left_out(self, rest: F64 | None) -> F64 | None:
        return None if rest is None else np.where(rest < 0, 0.0, self.values(rest))

    def values(self, score: F64) -> F64:
        """Value of serving each request at `score` (n,), at the scores of the batch's start."""
        n = np.arange(score.size + 1)
        objective = self.settings.objective
        return pairs.value_rows(
            n, score, self.best_score, self.worth,
            objective.serve_reward, objective.scale == "per_request",
        )  # fmt: skip

    def left(self, offer: I32) -> Supply:
        """What is left once each request has taken its offer (-1: none); may be negative."""
        served = np.flatnonzero(offer >= 0)
        hours = self.columns.requests.hours[served]
        spent = np.bincount(
            self.fleet.offer_pool[offer[served]], hours, minlength=self.supply.left.size
        )
        tenant = self.columns.requests.tenant[served]
        cost = (self.fleet.offer_price[offer[served]] * hours)[tenant >= 0]
        paid = np.bincount(tenant[tenant >= 0], cost, minlength=self.supply.budget.size)
        return Supply(self.supply.left - spent, self.supply.total, self.supply.budget - paid)


@dataclass(frozen=True)
class Made:
    """What a policy made of a task."""

    offer: I32  # (n,) fleet offer, -1 = refused
    left: Supply
    value: float  # in the objective of `global`, at the scores of the batch's start
    allocation: Allocation | None  # of `Task.problem`, certified; None where nothing was solved
    score: F64 | None = None  # (n,) at the moment of the decision, where that is not the start
    stage: I32 | None = None  # (n,) how far refused requests came, where the policy knows


def decide_globally(task: Task) -> Made:
    """Decide the whole batch at once.

    Where everybody's best offer fits into pools and budgets, that is optimal at prices of zero (or
    at the reserve prices alone), and nothing is solved; without reserve prices no pairs are listed.
    """
    offer, net = _best_offers(task)
    left = task.left(offer)
    fits = bool((left.left >= 0).all() and (left.budget >= 0).all())
    if fits and (task.reserve is None or task.problem.rest is None):
        value = float(net[offer >= 0].sum())
        found = _uncontested(task, offer, value)
    else:
        found = solve(task)
        offer = found.assignment.astype(np.int32)
        left = task.left(offer)
    return Made(offer, left, found.value + _paid(task, left), found)


def _best_offers(task: Task) -> tuple[I32, F64]:
    """Return each request's best offer (-1: none worth its price) and its value net of reserves."""
    if task.reserve is None:
        return task.best[0], task.values(task.best[1])
    known = np.flatnonzero(task.nearest >= 0)
    net = np.zeros(task.nearest.size)
    net[known] = task.problem.data[task.nearest[known]]
    offer = np.full(net.size, -1, np.int32)
    taken = np.flatnonzero(net > 0)
    offer[taken] = task.problem.indices[task.nearest[taken]]
    return offer, net


def _paid(task: Task, left: Supply) -> float:
    """Value at the reserve prices of what the batch took."""
    if task.reserve is None:
        return 0.0
    pool, budget = task.reserve
    used, spent = task.supply.left - left.left, task.supply.budget - left.budget
    return float(pool @ used + budget @ spent)


def decide_greedily(task: Task, certify: bool) -> Made:
    """Decide request by request, each taking its best offer at that moment.

    With `certify`, a solve beside it gives prices and a bound; it changes no decision.
    """
    n = task.columns.priority.size
    offer, stage = np.empty(n, np.int32), np.empty(n, np.int32)
    score = np.empty(n, np.float64)
    left = Supply(task.supply.left.copy(), task.supply.total, task.supply.budget.copy())
    normalized = task.settings.scoring is Scoring.NORMALIZED
    greedy(task.columns.offers, task.columns.requests, left, normalized, offer, score, stage)
    own, _, _ = scoring.next_best(task.columns, task.supply, task.settings.scoring, offer, 0)
    value = float(task.values(own)[offer >= 0].sum())
    return Made(offer, left, value, solve(task) if certify else None, score, stage)


def certified(task: Task, made: Made) -> Made:
    """Return the same decisions with prices and a bound, from a solve where there was none."""
    return made if made.allocation is not None else replace(made, allocation=solve(task))


def solve(task: Task) -> Allocation:
    """Allocate at the prices of the batch before, within the configured work."""
    solver = task.settings.solver
    enough = SMALL_WORK + SMALL_WORK_PER_PAIR * task.problem.data.size
    warm = task.warm
    if warm is not None:
        warm = Prices(warm.pool, warm.budget[: task.problem.supply.budget.size])
    return allocation.solve(
        task.problem,
        method="auto",
        work=min(int(solver.deadline_ms * WORK_PER_MS), enough),
        target_gap=solver.target_gap,
        warm_start=warm,
        deadline_s=task.safety.deadline_s,
        stop_at=task.safety.stop_at,
    )


def _uncontested(task: Task, offer: I32, value: float) -> Allocation:
    return Allocation(
        assignment=offer.astype(np.int64),
        value=value,
        bound=value,
        gap=0.0,
        pool_prices=np.zeros(task.supply.left.size),
        budget_prices=np.zeros(task.supply.budget.size if task.budgeted else 0),
        status="optimal",
        seconds=0.0,
        work=0,
    )
