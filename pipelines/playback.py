"""A request log through the router, offline: the engine of `aurora replay` and of the demo.

    log -> read_requests (chunks) -> Batches -> router.step, by each contestant
                                                  |-> decisions, figures
                                                  '-> Hindsight -> figures

The log is read once and decided by every contestant, each with a state of its own. Decisions are
written as they come, in the order of the log, a bad row as `rejected`. A window that is over is
judged, off the clock, by what it could have been worth.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch import decisions, router
from aurora_batch.adapters.files import Chunk, read_requests
from aurora_batch.fleet import Fleet
from aurora_batch.hindsight import TIGHT, Hindsight, Judged, Proven, with_work
from aurora_batch.router import Step
from aurora_batch.schema import REQUEST_SCHEMA, Rejection
from pipelines.batches import Batch, Batches
from pipelines.contestants import Contestant
from pipelines.figures import Figures

I64 = NDArray[np.int64]
HOLD_ROWS = 65_536  # decisions that are counted and written together
ASKED = ("tenant_id", "gpu_type", "gpu_hours")  # what is kept of a request until it is counted


class Player:
    """One contestant's way through the log.

    Parameters
    ----------
    write
        Takes decisions in the order of the log.
    """

    def __init__(
        self, contestant: Contestant, fleet: Fleet, write: Callable[[pa.Table], None]
    ) -> None:
        self.figures = Figures()
        self._policy, self._settings = contestant.policy, contestant.settings
        self._fleet, self._write = fleet, write
        self._state = router.initial_state(fleet, contestant.settings)
        self._held: list[Rows] = []
        self._bad: list[Rows] = []
        self._count = 0

    def decide(self, batch: Batch, bound: float | None) -> tuple[Step, float]:
        """Decide one batch; return the step and a bound on the value of any allocation of it.

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
        self._held.append(Rows(step.decisions, batch.position, batch.requests.select(ASKED)))
        self._count += batch.position.size
        if self._count >= HOLD_ROWS:
            self._flush(int(batch.position[-1]))
        return step, bound

    def reject(self, rejections: Sequence[Rejection], first: int) -> None:
        """Take in the bad rows of a chunk that begins at row `first` of the log."""
        if rejections:
            table = decisions.rejected(rejections, self._policy, first)
            position = np.array([first + r.index for r in rejections], np.int64)
            self._bad.append(Rows(table, position, _UNREAD.take(np.zeros(position.size, np.int64))))

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
            self.figures.add_decisions(rows.decisions, rows.asked)
            self._write(rows.decisions)


@dataclass(frozen=True)
class Rows:
    """Decisions with their rows in the log, (n,), and what was asked for, null where unknown."""

    decisions: pa.Table
    position: I64
    asked: pa.Table

    @classmethod
    def joined(cls, parts: Sequence["Rows"]) -> "Rows":
        """Return one after the other."""
        return cls(
            pa.concat_tables([p.decisions for p in parts]),
            np.concatenate([p.position for p in parts]),
            pa.concat_tables([p.asked for p in parts], promote_options="default"),  # nulls
        )

    def slice(self, low: int, high: int | None) -> "Rows":
        """Return rows low..high."""
        length = None if high is None else high - low
        asked = self.asked.slice(low, length)
        return Rows(self.decisions.slice(low, length), self.position[low:high], asked)

    def in_order(self) -> "Rows":
        """Return the rows in the order of the log."""
        if bool((np.diff(self.position) > 0).all()):
            return self
        order = np.argsort(self.position, kind="stable")
        at = pa.array(order)
        return Rows(self.decisions.take(at), self.position[order], self.asked.take(at))


class Contest:
    """All players, who decide the same batches, and the judge of each window."""

    def __init__(
        self,
        contestants: Sequence[Contestant],
        fleet: Fleet,
        write: Callable[[pa.Table], None],
        *,
        as_live: bool,
    ) -> None:
        last = contestants[-1]
        self.players = {
            c.name: Player(c, fleet, write if c is last else _nowhere) for c in contestants
        }
        self._judge = Hindsight(fleet, last.settings)
        # What `global` finds for the only batch of a window is what hindsight would find.
        self._at_once = not as_live

    def decide(self, batch: Batch) -> None:
        """Let every player decide; the last one first, whose bound may serve the others."""
        bound: float | None = None
        steps: list[Step] = []
        for player in reversed(self.players.values()):
            step, known = player.decide(batch, bound)
            # At reserve prices `global` has another problem than `greedy`.
            bound = known if batch.opens_window and self._at_once else None
            steps.insert(0, step)
        proven = None
        solved = steps[-1].allocation
        if self._at_once and bound is not None and solved is not None and solved.gap <= TIGHT:
            proven = Proven(bound, tuple(step.batch.value for step in steps))
        ended = self._judge.add(
            steps[0].batch.window_us, batch.requests, [step.decisions for step in steps], proven
        )
        self._note(ended)

    def reject(self, rejections: Sequence[Rejection], first: int) -> None:
        """Take in the bad rows of a chunk that begins at row `first` of the log."""
        for player in self.players.values():
            player.reject(rejections, first)

    def finish(self) -> None:
        """Judge, count and write what is left."""
        self._note(self._judge.finish())
        for player in self.players.values():
            player.finish()

    def _note(self, ended: Judged | None) -> None:
        if ended is not None:
            for player, value in zip(self.players.values(), ended.values, strict=True):
                player.figures.judge(ended.window_us, value, ended.bound)


def play(
    log: Path,
    contestants: Sequence[Contestant],
    fleet: Fleet,
    *,
    write: Callable[[pa.Table], None],
    as_live: bool = False,
    watch: Callable[[Chunk], None] = lambda chunk: None,
) -> dict[str, Figures]:
    """Decide a log by each contestant, side by side; return what each added up, by name.

    Parameters
    ----------
    contestants
        The settings of the last one say when a batch closes and a window ends, for all.
    write
        Takes the decisions of the last one, in the order of the log.
    as_live
        Close batches as the stream would, by event time; else decide each window at once.
    watch
        Sees each chunk once it is taken in.
    """
    contest = Contest(contestants, fleet, write, as_live=as_live)
    batches = Batches(contestants[-1].settings, as_live=as_live)
    first = 0
    for chunk in read_requests(log):
        contest.reject(chunk.decoded.rejections, first)
        for batch in batches.add(chunk.decoded.requests, chunk.decoded.index + first):
            contest.decide(batch)
        first += chunk.rows
        watch(chunk)
    for batch in batches.finish():
        contest.decide(batch)
    contest.finish()
    return {name: player.figures for name, player in contest.players.items()}


def _nowhere(_: pa.Table) -> None:
    """Take decisions that nobody asked for."""


_UNREAD = pa.table(
    [pa.nulls(1, REQUEST_SCHEMA.field(name).type) for name in ASKED],
    schema=pa.schema([pa.field(name, REQUEST_SCHEMA.field(name).type) for name in ASKED]),
)
