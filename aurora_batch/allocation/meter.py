"""Counts a solve's work, and says when to stop."""

from dataclasses import dataclass, field
from threading import Event
from time import perf_counter

from aurora_batch.allocation.result import Status, relative_gap


@dataclass
class Meter:
    """Work used so far, in visited pairs, against its limits.

    Only counted work and the gap decide where a solve stops, unless a deadline is set: then the
    clock is looked at between kernels. Each look is a unit of work too, so that the units done when
    the deadline struck name one look, and the same solve with `stop_at` ends at that one.
    """

    work: int
    target_gap: float
    deadline_s: float | None = None
    stop_at: int | None = None  # units at which the deadline struck the solve that is repeated
    used: int = 0
    struck: bool = False  # a look found the deadline passed
    started: float = field(default_factory=perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self.started

    @property
    def left(self) -> int:
        """Pairs that may still be visited."""
        return max(self.work - self.used, 0)

    @property
    def timed(self) -> bool:
        """Whether time alone limits the solve."""
        return self.deadline_s is not None and self.work == UNLIMITED

    @property
    def likely(self) -> int:
        """Pairs that may still be visited, also by what the whole deadline holds."""
        if self.deadline_s is None or not self.timed:
            return self.left
        return max(int(self.deadline_s * PER_S) - self.used, 0)

    def seconds_left(self) -> float | None:
        """Seconds to the deadline, None without one."""
        return None if self.deadline_s is None else self.deadline_s - self.seconds

    def count(self, units: int) -> None:
        """Add work done; once the deadline struck, what is done to end in order is not counted."""
        if not self.struck:
            self.used += units

    def strike(self) -> None:
        """End here: the deadline has passed."""
        self.struck = True

    def spent(self) -> bool:
        """Look whether work or time is used up."""
        return self.struck or self.used >= self.work or self.late()

    def late(self) -> bool:
        """Look whether time is up, for what is done whatever the work is."""
        if not self.struck:
            self.used += 1
            late = self.deadline_s is not None and self.seconds >= self.deadline_s
            self.struck = late or (self.stop_at is not None and self.used >= self.stop_at)
        return self.struck

    def done(self, value: float, bound: float) -> bool:
        """Whether nothing more is asked for, or nothing is left to do it with."""
        wanted = max(self.target_gap, OPTIMAL_GAP)
        return relative_gap(value, bound) <= wanted or self.spent()

    def status(self, value: float, bound: float) -> Status:
        """Why a solve that holds this value and bound stops now."""
        gap = relative_gap(value, bound)
        if gap <= OPTIMAL_GAP:
            return "optimal"
        if gap <= self.target_gap:
            return "target_gap"
        return "deadline" if self.struck else "work_limit"


@dataclass
class UnhurriedMeter(Meter):
    """Works a share of the time only, so that what runs beside it is not slowed down by much.

    Between kernels it rests, until somebody waits for what is solved.
    """

    share: float = 1.0
    wanted: Event = field(default_factory=Event)
    woken: float = field(default_factory=perf_counter)

    def late(self) -> bool:
        """Rest, then look whether time is up."""
        self.wanted.wait((perf_counter() - self.woken) * (1.0 / self.share - 1.0))
        self.woken = perf_counter()
        return super().late()


# Value and bound are sums in another order; this close they are equal.
OPTIMAL_GAP = 1e-12
PER_S = 80_000_000  # pairs that one core of a slow server visits in a second
UNLIMITED = 1 << 62  # work, where a deadline decides
