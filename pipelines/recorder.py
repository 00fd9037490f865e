"""What was decided, put back into the order of the log, counted and written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch import decisions
from aurora_batch.hindsight import Judged
from aurora_batch.model import Policy
from aurora_batch.router import Step
from aurora_batch.schema import REQUEST_SCHEMA, Rejection
from pipelines.figures import Figures

I64 = NDArray[np.int64]
HOLD_ROWS = 65_536  # decisions that are counted and written together
ASKED = ("tenant_id", "gpu_type", "gpu_hours")  # what is kept of a request until it is counted


class Recorder:
    """One contestant's figures and decisions; all calls come from one thread.

    Parameters
    ----------
    write
        Takes decisions in the order of the log; None where nobody asked for them.
    """

    def __init__(self, policy: Policy, write: Callable[[pa.Table], None] | None) -> None:
        self.figures = Figures()
        self._policy, self._write = policy, write
        self._held: list[Rows] = []
        self._bad: list[Rows] = []
        self._count = 0

    def add(self, step: Step, position: I64, bound: float, seconds: float) -> None:
        """Take a batch in, with the rows of its requests in the log, (n,).

        `bound` is no less than the value of any allocation of it, `seconds` the time that deciding
        took, to which the time that making its decisions takes is added.
        """
        begun = perf_counter()
        table = step.decisions
        seconds += perf_counter() - begun
        self.figures.add_batch(step.batch, bound, seconds)
        self._held.append(Rows(table, position, step.requests.select(ASKED)))
        self._count += position.size
        if self._count >= HOLD_ROWS:
            self._flush(int(position[-1]))

    def reject(self, rejections: Sequence[Rejection], first: int) -> None:
        """Take in the bad rows of a chunk that begins at row `first` of the log."""
        table = decisions.rejected(rejections, self._policy, first)
        position = np.array([first + r.index for r in rejections], np.int64)
        self._bad.append(Rows(table, position, _UNREAD.take(np.zeros(position.size, np.int64))))

    def judge(self, ended: Judged, value: float) -> None:
        """Note what a window that is over was worth."""
        self.figures.judge(ended.window_us, value, ended.bound)

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
            if self._write is not None:
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


_UNREAD = pa.table(
    [pa.nulls(1, REQUEST_SCHEMA.field(name).type) for name in ASKED],
    schema=pa.schema([pa.field(name, REQUEST_SCHEMA.field(name).type) for name in ASKED]),
)
