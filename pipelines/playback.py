"""A request log through the router, offline: the engine of `aurora replay` and of the demo.

    log -> read_requests (chunks) -> Batches -> router.step for each policy -> decisions, figures

The log is read once and decided by every policy, each with a state of its own. Decisions are
written as they come, in the order of the log, a bad row as `rejected`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa
from msgspec.structs import replace
from numpy.typing import NDArray

from aurora_batch import decisions, router
from aurora_batch.adapters.files import Chunk, read_requests
from aurora_batch.fleet import Fleet
from aurora_batch.model import Policy
from aurora_batch.schema import Rejection
from aurora_batch.settings import Settings
from pipelines.batches import Batch, Batches
from pipelines.figures import Figures

I64 = NDArray[np.int64]
HOLD_ROWS = 65_536  # decisions that are counted and written together


class Player:
    """One policy's way through the log.

    Parameters
    ----------
    write
        Takes decisions in the order of the log.
    """

    def __init__(
        self, policy: Policy, fleet: Fleet, settings: Settings, write: Callable[[pa.Table], None]
    ) -> None:
        self.figures = Figures()
        self._policy, self._fleet, self._settings = policy, fleet, settings
        self._write = write
        self._state = router.initial_state(fleet, settings)
        self._held: list[Rows] = []
        self._bad: list[Rows] = []
        self._count = 0

    def decide(self, batch: Batch, bound: float | None) -> float:
        """Decide one batch; return a bound on the value of any allocation of it.

        Only the decision itself counts as time spent. A `bound` that is known for what is left now
        saves the solve that finds one for `greedy`.
        """
        settings = with_work(self._settings, batch.position.size)
        arguments = (batch.requests, self._fleet, self._state, settings)
        begun = perf_counter()
        step = router.step(*arguments, policy=self._policy)
        seconds = perf_counter() - begun
        if not np.isnan(step.batch.bound):
            bound = step.batch.bound
        elif bound is None:
            # Again, off the clock; the same decisions, and a state that warms up the next solve.
            step = router.step(*arguments, policy=self._policy, certify=True)
            bound = step.batch.bound
        self._state = step.state
        self.figures.add_batch(step.batch, bound, seconds)
        hours = batch.requests["gpu_hours"].to_numpy()
        self._held.append(Rows(step.decisions, batch.position, hours))
        self._count += batch.position.size
        if self._count >= HOLD_ROWS:
            self._flush(int(batch.position[-1]))
        return bound

    def reject(self, rejections: Sequence[Rejection], first: int) -> None:
        """Take in the bad rows of a chunk that begins at row `first` of the log."""
        if rejections:
            table = decisions.rejected(rejections, self._policy, first)
            position = np.array([first + r.index for r in rejections], np.int64)
            self._bad.append(Rows(table, position, np.full(position.size, np.nan)))

    def finish(self) -> None:
        """Count and write what is left."""
        self._flush(np.iinfo(np.int64).max)

    def _flush(self, until: int) -> None:
        """Count and write what is decided, and the bad rows before row `until`."""
        parts, self._held, self._count = self._held, [], 0
        if self._bad:
            bad = Rows.joined(self._bad)
            cut = int(np.searchsorted(bad.position, until))
            parts.append(bad.slice(0, cut))
            self._bad = [bad.slice(cut, None)]
        if parts:
            rows = Rows.joined(parts).in_order()
            self.figures.add_decisions(rows.decisions, rows.hours)
            self._write(rows.decisions)


@dataclass(frozen=True)
class Rows:
    """Decisions with their rows in the log, (n,), and GPU-hours, (n,), NaN where unknown."""

    decisions: pa.Table
    position: I64
    hours: NDArray[np.float64]

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """Return one after the other."""
        return cls(
            pa.concat_tables([p.decisions for p in parts]),
            np.concatenate([p.position for p in parts]),
            np.concatenate([p.hours for p in parts]),
        )

    def slice(self, low: int, high: int | None) -> "Rows":
        """Return rows low..high."""
        length = None if high is None else high - low
        part = slice(low, high)
        return Rows(self.decisions.slice(low, length), self.position[part], self.hours[part])

    def in_order(self) -> "Rows":
        """Return the rows in the order of the log."""
        if bool((np.diff(self.position) > 0).all()):
            return self
        order = np.argsort(self.position, kind="stable")
        return Rows(self.decisions.take(pa.array(order)), self.position[order], self.hours[order])


def with_work(settings: Settings, requests: int) -> Settings:
    """Return settings whose solver has work in proportion to a batch larger than any live one."""
    most = settings.router.batch.max_requests
    if requests <= most:
        return settings
    solver = settings.router.solver
    solver = replace(solver, deadline_ms=solver.deadline_ms * requests / most)
    return replace(settings, router=replace(settings.router, solver=solver))


def play(
    log: Path,
    policies: Sequence[Policy],
    fleet: Fleet,
    settings: Settings,
    *,
    write: Callable[[pa.Table], None],
    as_live: bool = False,
    watch: Callable[[Chunk], None] = lambda chunk: None,
) -> dict[Policy, Figures]:
    """Decide a log by each policy, side by side; return what each added up.

    Parameters
    ----------
    write
        Takes the decisions of the last policy, in the order of the log.
    as_live
        Close batches as the stream would, by event time; else decide each window at once.
    watch
        Sees each chunk once it is taken in.
    """
    players = [
        Player(policy, fleet, settings, write if policy is policies[-1] else _nowhere)
        for policy in policies
    ]
    batches = Batches(settings, as_live=as_live)
    first = 0
    for chunk in read_requests(log):
        for player in players:
            player.reject(chunk.decoded.rejections, first)
        for batch in batches.add(chunk.decoded.requests, chunk.decoded.index + first):
            _decide(batch, players)
        first += chunk.rows
        watch(chunk)
    for batch in batches.finish():
        _decide(batch, players)
    for player in players:
        player.finish()
    return {policy: p.figures for policy, p in zip(policies, players, strict=True)}


def _decide(batch: Batch, players: Sequence[Player]) -> None:
    """Let every player decide; the last one first, whose bound may serve the others."""
    bound = None
    for player in reversed(players):
        known = player.decide(batch, bound)
        bound = known if batch.opens_window else None


def _nowhere(_: pa.Table) -> None:
    """Take decisions that nobody asked for."""
