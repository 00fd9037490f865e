"""How much a window will still ask for: an estimate in GPU-hours, from this window and the last.

Three views of the same figures, where `usual` is the average of the last windows:

    as usual   what the usual window asks for after this moment
    level      the same, times what came so far over what usually comes by now: more all along
    total      the usual window's total less what came so far: sooner or later, but no more

They agree while a window goes as usual. Where it does not, each is right about another kind of
change, and nothing in the window itself tells which; but the last windows do: each view is weighed
by how well it would have foretold them. Where no window is known yet, the rate so far goes on.
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
# The level is what came over what was expected, both beside this part of a usual window that came
# as expected; a tenth of a window counts as at most so many times what was expected of it, so that
# ten times the rate for a while does not foretell ten times the rate for the rest.
PRIOR = 0.2
MOST = 2.0
# Weight of a view: (mean error, as a part of a usual window, + its doubt) ** -2. Without evidence
# the level counts most, and none loses much.
DOUBT = (0.02, 0.012, 0.03)
CHECKED = np.arange(1, 10) / 10  # moments of a window at which views are held against what came
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
    weights: F64 = field(default_factory=lambda: weights_of(np.zeros((0, BINS))))  # of the views

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
        past = np.concatenate(rows)[-PAST:]
        return Demand(window_us, past=past, weights=weights_of(past))

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

    def usual(self) -> float:
        """Return the GPU-hours that a window asks for; 0 where none is known yet."""
        return float(_average(self.past).sum())

    def expected(self, gone: float) -> Forecast | None:
        """Forecast when the part `gone` of the window has passed; None where nothing is known."""
        usual = _average(self.past)
        if not usual.any():
            return self._at_this_rate(gone)
        views = _views(usual, self.current, gone)
        hours = float(self.weights @ views)
        return Forecast(hours, float(views.min()), float(views.max()))

    def _at_this_rate(self, gone: float) -> Forecast | None:
        seen = gone - self.since
        if seen < LEAST_SEEN:
            return None
        hours = float(self.current.sum()) / seen * (1.0 - gone)
        return Forecast(hours, 0.0, hours)


def weights_of(past: F64) -> F64:
    """Return how much each view counts, in all 1, by how it did in the last windows."""
    errors = [
        np.abs(_views(_average(past[:w]), _by(past[w], gone), gone) - _after(past[w], gone))
        for w in range(1, len(past))
        if past[:w].any()  # before the first requests no view could foretell any
        for gone in CHECKED
    ]
    usual = _average(past).sum()
    error = np.mean(errors, axis=0) / usual if errors and usual else np.zeros(len(DOUBT))
    weights = (error + np.array(DOUBT)) ** -2.0
    return np.asarray(weights / weights.sum())


def _average(past: F64) -> F64:
    """Average of windows by bin, the later ones counting more; (BINS,), 0 where there are none."""
    weights = DECAY ** np.arange(len(past))[::-1]
    return np.asarray(weights @ past / max(weights.sum(), 1e-300))


def _passed(gone: float) -> F64:
    """Part of each bin that has passed."""
    return np.clip(gone * BINS - np.arange(BINS), 0.0, 1.0)


def _by(window: F64, gone: float) -> F64:
    """What a window had asked for, by bin, when the part `gone` of it had passed."""
    return window * _passed(gone)


def _after(window: F64, gone: float) -> float:
    """What it asked for after that."""
    return float(window.sum() - _by(window, gone).sum())


def _views(usual: F64, came: F64, gone: float) -> F64:
    """Return what each view expects after the part `gone`, given what came by bin until then."""
    ahead = _after(usual, gone)
    awaited = _by(usual, gone).reshape(-1, TENTH).sum(axis=1)
    counted = np.minimum(came.reshape(-1, TENTH).sum(axis=1), MOST * awaited)
    prior = PRIOR * usual.sum()
    level = (prior + counted.sum()) / max(prior + awaited.sum(), 1e-300)
    return np.array([ahead, level * ahead, max(usual.sum() - came.sum(), 0.0)])
