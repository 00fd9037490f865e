"""A request log through the router, offline: the engine of `aurora replay` and of the demo.

    log -> read_requests (chunks) -> Batches -> router.step, by each contestant -> Recorder
           a thread ahead                         '-> Hindsight                    a thread behind

The log is read once and decided by every contestant, each with a state of its own. Decisions are
made, counted and written behind, in the order of the log, a bad row as `rejected`. A window that is
over is judged, off the clock, by what it could have been worth.
"""

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from time import perf_counter

import numpy as np
import pyarrow as pa

from aurora_batch import router
from aurora_batch.adapters.files import Chunk, read_requests
from aurora_batch.fleet import Fleet
from aurora_batch.hindsight import TIGHT, Hindsight, Judged, Proven, with_work
from aurora_batch.router import Step
from aurora_batch.schema import Rejection
from pipelines.batches import Batch, Batches
from pipelines.contestants import Contestant
from pipelines.conveyor import Behind, ahead
from pipelines.figures import Figures
from pipelines.recorder import Recorder

BEHIND_ROWS = 65_536  # that are decided and not yet taken by the recorder


class Player:
    """One contestant's way through the log."""

    def __init__(self, contestant: Contestant, fleet: Fleet, *, bounds: bool) -> None:
        self._policy, self._settings = contestant.policy, contestant.settings
        self._fleet, self._bounds = fleet, bounds
        self._state = router.initial_state(fleet, contestant.settings)

    def decide(self, batch: Batch, bound: float | None) -> tuple[Step, float, float]:
        """Decide one batch; return the step, a bound on any allocation's value, and the seconds.

        Only the decision itself counts as time spent. A `bound` that is known for what is left now
        saves the solve that finds one for `greedy`; NaN where nobody asks for it.
        """
        settings = with_work(self._settings, batch.position.size)
        begun = perf_counter()
        step = router.step(batch.requests, self._fleet, self._state, settings, policy=self._policy)
        seconds = perf_counter() - begun
        if bound is None or not np.isnan(step.batch.bound):
            # Of `greedy` off the clock; it leaves prices that warm up the next solve, too.
            step = step.certified() if self._bounds else step
            bound = step.batch.bound
        self._state = step.state
        return step, bound, seconds


class Contest:
    """All players, who decide the same batches, and the judge of each window.

    Parameters
    ----------
    bounds
        Whether to solve for what gap and regret alone need.
    """

    def __init__(
        self,
        contestants: Sequence[Contestant],
        fleet: Fleet,
        recorders: Sequence[Recorder],
        behind: Behind,
        *,
        as_live: bool,
        bounds: bool,
    ) -> None:
        self._players = [Player(c, fleet, bounds=bounds) for c in contestants]
        self._recorders, self._behind = recorders, behind
        self._judge = Hindsight(fleet, contestants[-1].settings) if bounds else None
        # What `global` finds for the only batch of a window is what hindsight would find.
        self._at_once = not as_live

    def decide(self, batch: Batch) -> None:
        """Let every player decide; the last one first, whose bound may serve the others."""
        bound: float | None = None
        steps: list[Step] = []
        for player, recorder in zip(self._players[::-1], self._recorders[::-1], strict=True):
            step, known, seconds = player.decide(batch, bound)
            # At reserve prices `global` has another problem than `greedy`.
            bound = known if batch.opens_window and self._at_once else None
            steps.insert(0, step)
            size = batch.position.size
            self._behind.call(size, recorder.add, step, batch.position, known, seconds)
        if self._judge is None:
            return
        proven = None
        solved = steps[-1].allocation
        if self._at_once and bound is not None and solved is not None and solved.gap <= TIGHT:
            proven = Proven(bound, tuple(step.batch.value for step in steps))
        offers = [step.offer for step in steps]
        self._note(self._judge.add(steps[0].batch.window_us, batch.requests, offers, proven))

    def reject(self, rejections: Sequence[Rejection], first: int) -> None:
        """Take in the bad rows of a chunk that begins at row `first` of the log."""
        for recorder in self._recorders if rejections else ():
            self._behind.call(len(rejections), recorder.reject, rejections, first)

    def finish(self) -> None:
        """Judge, count and write what is left."""
        self._note(self._judge.finish() if self._judge is not None else None)
        for recorder in self._recorders:
            self._behind.call(0, recorder.finish)

    def _note(self, ended: Judged | None) -> None:
        if ended is not None:
            for recorder, value in zip(self._recorders, ended.values, strict=True):
                self._behind.call(0, recorder.judge, ended, value)


def play(
    log: Path,
    contestants: Sequence[Contestant],
    fleet: Fleet,
    *,
    write: Callable[[pa.Table], None],
    as_live: bool = False,
    bounds: bool = True,
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
    bounds
        Whether to solve for what the figures gap and regret alone need: a bound for `greedy`, and
        each window in hindsight.
    watch
        Sees each chunk once it is taken in.
    """
    last = contestants[-1]
    batches = Batches(last.settings, as_live=as_live)
    first = 0
    with (
        closing(ahead(read_requests(log))) as chunks,
        Behind(BEHIND_ROWS) as writer,
        Behind(BEHIND_ROWS) as behind,
    ):

        def later(decisions: pa.Table) -> None:
            writer.call(decisions.num_rows, write, decisions)

        recorders = [Recorder(c.policy, later if c is last else None) for c in contestants]
        contest = Contest(contestants, fleet, recorders, behind, as_live=as_live, bounds=bounds)
        for chunk in chunks:
            contest.reject(chunk.decoded.rejections, first)
            for batch in batches.add(chunk.decoded.requests, chunk.decoded.index + first):
                contest.decide(batch)
            first += chunk.rows
            watch(chunk)
        for batch in batches.finish():
            contest.decide(batch)
        contest.finish()
    return {c.name: r.figures for c, r in zip(contestants, recorders, strict=True)}
