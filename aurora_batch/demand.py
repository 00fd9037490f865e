"""How much a window will still ask for: an estimate in GPU-hours, from this window and the last.

    ahead     what the average of the last windows asked for after this moment of the window
    level     what came so far over what they asked for by now, pulled towards 1
    expected  ahead x level

A profile over the window's time is thus learned within a window or two, and a new level within part
of one. A burst counts once, when it comes: each tenth of a window may raise the level by as much as
twice what it was expected to bring, so ten times the rate for a while does not foretell ten times
the rate for the rest. Where no window is known yet, the rate so far goes on.
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurora_batch.ledger import NO_WINDOW

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

BINS = 60  # of a window
TENTH = 6  # bins
PAST = 4  # windows remembered
DECAY = 0.5  # weight of a window over that of the next
# The level is the sum of what came over the sum of what was expected, both beside a whole window
# that came as expected. Of 0.15, 0.5 and 1.0, the last is the one that loses least when the rest of
# a window makes up for what its first part lacked or had too much of.
PRIOR = 1.0
MOST = 2.0  # what a tenth of a window may count as, over what was expected of it
LEAST_SEEN = 0.02  # of a window, before its rate says anything


class Forecast(NamedTuple):
    """GPU-hours that the window will still ask for."""

    hours: float
    low: float  # and the range of what else the same figures may mean
    high: float


@dataclass(frozen=True, eq=False)
class Demand:
    """GPU-hours asked for in this window and in the last ones; never changed in place."""

    window_us: int = NO_WINDOW
    since: float = 0.0  # part of the window gone when the first request ever came; 0 in later ones
    current: F64 = field(default_factory=lambda: np.zeros(BINS))  # by bin of the window's time
    past: F64 = field(default_factory=lambda: np.zeros((0, BINS)))  # oldest first

    def enter(self, window_us: int, length_us: int) -> "Demand":
        """Return the demand at the start of a window, `length_us` long like all of them.

        Windows without any request count too, as such.
        """
        if window_us <= self.window_us:
            return self
        if self.window_us == NO_WINDOW:
            return Demand(window_us)
        silent = min((window_us - self.window_us) // length_us - 1, PAST)
        rows = [self.past, self._whole()[np.newaxis], np.zeros((silent, BINS))]
        return Demand(window_us, past=np.concatenate(rows)[-PAST:])

    def _whole(self) -> F64:
        """Return the current window, with its mean rate where nobody was watching yet."""
        unseen = int(self.since * BINS)
        whole = self.current.copy()
        whole[:unseen] = whole[unseen:].mean()
        return whole

    def add(self, event_us: I64, hours: F64, length_us: int) -> "Demand":
        """Return the demand with some more requests; late ones count at the window's start."""
        if not event_us.size:
            return self
        gone = np.clip((event_us - self.window_us) / length_us, 0.0, 1.0)
        bins = np.minimum((gone * BINS).astype(np.int64), BINS - 1)
        first = not self.past.shape[0] and not self.current.any()
        return replace(
            self,
            since=float(gone.min()) if first else self.since,
            current=self.current + np.bincount(bins, hours, minlength=BINS),
        )

    def expected(self, gone: float) -> Forecast | None:
        """Forecast when the part `gone` of the window has passed; None where nothing is known."""
        weights = DECAY ** np.arange(len(self.past))[::-1]
        profile = weights @ self.past / max(weights.sum(), 1e-300)
        if not profile.any():
            return self._at_this_rate(gone)
        passed = np.clip(gone * BINS - np.arange(BINS), 0.0, 1.0)  # part of each bin
        so_far = profile * passed
        ahead = float(profile.sum() - so_far.sum())
        level = self._level(profile, so_far)
        total = max(float(profile.sum() - self.current.sum()), 0.0)
        hours = ahead * level
        return Forecast(hours, min(hours, ahead, total), max(hours, ahead, total))

    def _level(self, profile: F64, so_far: F64) -> float:
        """Return how much more comes than was expected, as a factor."""
        came = self.current.reshape(-1, TENTH).sum(axis=1)
        awaited = so_far.reshape(-1, TENTH).sum(axis=1)
        counted = np.minimum(came, MOST * awaited).sum()
        whole = PRIOR * profile.sum()
        return float((whole + counted) / (whole + awaited.sum()))

    def _at_this_rate(self, gone: float) -> Forecast | None:
        seen = gone - self.since
        if seen < LEAST_SEEN:
            return None
        hours = float(self.current.sum()) / seen * (1.0 - gone)
        return Forecast(hours, 0.0, hours)
