"""Counts a solve's work, and says when to stop."""

from dataclasses import dataclass, field
from time import perf_counter

from aurora_batch.allocation.result import Status, relative_gap


@dataclass
class Meter:
    """Work used so far, in visited pairs, against its limits.

    Only counted work and the gap decide where a solve stops, unless a deadline is set: then the
    clock is looked at between kernels.
    """

    work: int
    target_gap: float
    deadline_s: float | None = None
    used: int = 0
    started: float = field(default_factory=perf_counter)

    @property
    def seconds(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self.started

    @property
    def left(self) -> int:
        """Pairs that may still be visited."""
        return max(self.work - self.used, 0)

    def seconds_left(self) -> float | None:
        """Seconds to the deadline, None without one."""
        return None if self.deadline_s is None else self.deadline_s - self.seconds

    def late(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline_s is not None and self.seconds >= self.deadline_s

    def spent(self) -> bool:
        """Whether work or time is used up."""
        return self.used >= self.work or self.late()

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
        return "deadline" if self.late() else "work_limit"


# Value and bound are sums in another order; this close they are equal.
OPTIMAL_GAP = 1e-12
