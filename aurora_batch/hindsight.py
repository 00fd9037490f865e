"""What a window could have been worth, had all of its requests been known at its start.

    bound    no allocation of the window's requests, given whole pools and budgets, is worth more
    value    what was decided, batch by batch, at the scores of the window's start
    regret   (bound - value) / bound

A request's value is scaled by its own best feasible score, and availability is part of a score, so
the same choice is worth a little more or less at the start of each batch. Here every choice is
valued once, at the window's start: values of different batches add up, and compare with the bound.
As the bound is not the best value itself, the regret is no less than the true one.

A window that is too large to be held is taken in pieces. Each request is then charged the prices of
the first piece, because weak duality holds at any prices >= 0:

    prices . supply + sum over requests of max(0, max(value - price x demand - price x cost))

The first piece is an unknown share of the window, so prices are found for several shares, and the
lowest of their bounds is the window's.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace
from numpy.typing import NDArray

from aurora_batch import allocation, policies, scoring
from aurora_batch.allocation import Allocation, Prices, SparseProblem
from aurora_batch.allocation.pricing import Market, quote
from aurora_batch.fleet import Fleet
from aurora_batch.policies import Task
from aurora_batch.scoring import Tenants
from aurora_batch.settings import Settings
from kernels.pairs import Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

# A bound is looked for off the hot path: where requests are much alike, good prices take some 500
# visits of each pair; beyond 2 seconds or so a bound need not be better.
WORK_PER_PAIR = 1_000
MOST_WORK = 200_000_000
TIGHT = 0.002  # gap of a solve whose bound is good enough
SHARES = tuple(0.5**x for x in range(8))  # of a window that its first piece may be
_NAMES = ("provider", "gpu_type", "region")  # that tell an offer
_BETWEEN = "|"  # in no provider's id and no GPU type


def without_lookahead(settings: Settings) -> Settings:
    """Return settings under which each batch is solved to its own optimum."""
    router = settings.router
    lookahead = replace(router.lookahead, enabled=False)
    return replace(settings, router=replace(router, lookahead=lookahead))


def with_work(settings: Settings, requests: int) -> Settings:
    """Return settings whose solver has work in proportion to a batch larger than any live one."""
    most = settings.router.batch.max_requests
    if requests <= most:
        return settings
    solver = settings.router.solver
    solver = replace(solver, deadline_ms=solver.deadline_ms * requests / most)
    return replace(settings, router=replace(settings.router, solver=solver))


def regret(value: float, bound: float) -> float:
    """Return (bound - value) / bound, 0 where the bound is 0 (and so the value)."""
    return (bound - value) / bound if bound else 0.0


def chosen(decisions: pa.Table, fleet: Fleet) -> I32:
    """Return the offer that each decision (`schema.DECISION_SCHEMA`) gives, (n,), -1 for none.

    A provider sells a GPU type once, or once in each region that has a price of its own, and a
    decision names a region that its offer lists; so the three names tell the offer.
    """
    known: dict[str, int] = {}
    for offer, regions in enumerate(fleet.offer_regions):
        provider = fleet.provider_ids[fleet.offer_provider[offer]]
        gpu = fleet.gpu_types[fleet.offer_gpu[offer]]
        known |= {_BETWEEN.join((provider, gpu, region)): offer for region in regions}
    names = [decisions[name] for name in _NAMES]
    place = pc.index_in(
        pc.binary_join_element_wise(*names, _BETWEEN), value_set=pa.array(list(known), pa.string())
    )
    offers = np.array([*known.values(), -1], np.int32)
    return np.asarray(offers[pc.fill_null(place, len(known)).to_numpy()], np.int32)


@dataclass(frozen=True)
class Piece:
    """Requests of one window, n of them, before whole pools and budgets."""

    task: Task

    @classmethod
    def of(cls, requests: pa.Table, fleet: Fleet, settings: Settings) -> "Piece":
        """Take canonical requests (`schema.REQUEST_SCHEMA`)."""
        tenants = Tenants.from_settings(settings)
        router = with_work(without_lookahead(settings), requests.num_rows).router
        whole = fleet.pool_capacity
        supply = Supply(whole.copy(), whole.copy(), tenants.budget.copy())
        return cls(Task(scoring.columns(requests, fleet, tenants), fleet, supply, router))

    def value(self, offer: I32) -> float:
        """Value of giving each request its offer, (n,), -1 for none."""
        task = self.task
        own, _, _ = scoring.next_best(task.columns, task.supply, task.settings.scoring, offer, 0)
        return float(task.values(own)[offer >= 0].sum())

    def bound(self) -> float:
        """No allocation of these requests is worth more."""
        made = policies.decide_globally(self.task).allocation
        assert made is not None
        if made.gap <= TIGHT:
            return made.bound
        return min(made.bound, self._solved(self.task.problem).bound)

    def prices(self, share: float) -> Prices:
        """Prices at which these requests fit into a share of the pools and budgets."""
        problem = self.task.problem
        budget = None if problem.budget is None else problem.budget * share
        part = dataclasses.replace(problem, capacity=problem.capacity * share, budget=budget)
        found = self._solved(part).prices
        # Without a request of a tenant there is no budget in the problem, and so no price.
        missing = self.task.supply.budget.size - found.budget.size
        return Prices(found.pool, np.pad(found.budget, (0, missing)))

    def _solved(self, problem: SparseProblem) -> Allocation:
        """Solve with more work than there is on the live path."""
        work = min(WORK_PER_PAIR * problem.data.size, MOST_WORK)
        target = self.task.settings.solver.target_gap
        return allocation.solve(problem, method="dual", work=work, target_gap=target)

    def surplus(self, prices: Prices) -> float:
        """Sum over the requests of what the best offer is worth beyond what it is charged."""
        budgets = self._market.supply.budget.size
        known = Prices(prices.pool, prices.budget[:budgets].copy())
        return float(quote(self._market, known).leaders.net[:, 0].sum())

    def worth(self, prices: Prices) -> float:
        """What whole pools and budgets are worth."""
        pairs = zip(prices, (self.task.supply.left, self.task.supply.budget), strict=True)
        # An infinite supply has no price, and 0 x inf is NaN.
        return sum(float(price[price > 0] @ supply[price > 0]) for price, supply in pairs)

    @cached_property
    def _market(self) -> Market:
        return Market(self.task.problem.rows(), self.task.problem.supply)


class Judged(NamedTuple):
    """A window that is over."""

    window_us: int  # its start, microseconds since the epoch
    requests: int  # decided in it
    bound: float  # no allocation of them is worth more
    values: tuple[float, ...]  # of each contestant, at the scores of the window's start


class Proven(NamedTuple):
    """What is known of a batch that was decided before whole pools and budgets."""

    bound: float
    values: tuple[float, ...]


class Hindsight:
    """Judges contestants that decide the same batches, window by window.

    Holds at most `replay.chunk_requests` requests, or one batch where that is larger, with each
    contestant's offers.
    """

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self._fleet, self._settings = fleet, settings
        self._window: _Sums | None = None
        self._proven: Proven | None = None  # where the window has one batch so far
        self._held = 0  # requests
        self._requests: list[pa.Table] = []
        self._offers: list[Sequence[I32]] = []  # by batch and contestant

    def add(
        self,
        window_us: int,
        requests: pa.Table,
        offers: Sequence[I32],
        proven: Proven | None = None,
    ) -> Judged | None:
        """Take a batch and what each contestant decided; return the window that it ended, if any.

        Each contestant's offers are (n,), -1 for none (`Step.offer`, or `chosen` of decisions).
        `proven` saves the solve of a window that this batch is the whole of.
        """
        ended = None
        if self._window is None or self._window.window_us != window_us:
            ended = self.finish()
            self._window, self._proven = _Sums(window_us, np.zeros(len(offers))), proven
        else:
            self._proven = None
        most = self._settings.replay.chunk_requests
        if self._held and self._held + requests.num_rows > most:
            self._window.add(*self._piece())
        self._held += requests.num_rows
        self._requests.append(requests)
        self._offers.append(offers)
        return ended

    def finish(self) -> Judged | None:
        """Return the window that is not judged yet, if there is one."""
        window, self._window = self._window, None
        if window is None:
            return None
        if self._proven is None:
            return window.judged(*self._piece())
        count = self._held
        self._held, self._requests, self._offers = 0, [], []
        return Judged(window.window_us, count, *self._proven)

    def _piece(self) -> tuple[Piece, list[I32]]:
        requests = pa.concat_tables(self._requests)
        offers = [np.concatenate(parts) for parts in zip(*self._offers, strict=True)]
        self._held, self._requests, self._offers = 0, [], []
        return Piece.of(requests, self._fleet, self._settings), offers


@dataclass
class _Sums:
    """A window, added up piece by piece."""

    window_us: int
    values: F64  # (contestants,)
    requests: int = 0
    prices: list[Prices] = field(default_factory=list)  # for several shares, from the first piece
    bounds: F64 = field(default_factory=lambda: np.zeros(len(SHARES)))  # what they prove so far

    def add(self, piece: Piece, offers: Sequence[I32]) -> None:
        """Count a piece of a window that needs several."""
        self._count(piece, offers)
        if not self.prices:
            self.prices = [piece.prices(share) for share in SHARES]
            self.bounds += [piece.worth(prices) for prices in self.prices]
        self.bounds += [piece.surplus(prices) for prices in self.prices]

    def judged(self, piece: Piece, offers: Sequence[I32]) -> Judged:
        """Count the last piece, and judge."""
        if self.prices:
            self.add(piece, offers)
            bound = float(self.bounds.min())
        else:
            self._count(piece, offers)
            bound = piece.bound()
        return Judged(self.window_us, self.requests, bound, tuple(self.values.tolist()))

    def _count(self, piece: Piece, offers: Sequence[I32]) -> None:
        self.requests += piece.task.columns.priority.size
        self.values += [piece.value(offer) for offer in offers]
