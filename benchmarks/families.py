"""Families of demand: ways in which a window may not go on as it began."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]

TENTHS = 10  # a window's demand is drawn by tenths


@dataclass(frozen=True)
class Family:
    """A shape of demand.

    `shape(window, windows, rng)` gives the requests in each tenth of a window, as a multiple of an
    even tenth, (10,).
    """

    shape: Callable[[int, int, np.random.Generator], F64]
    bigger: float = 1.0  # job size in a window's second half, as a multiple of the first's
    load: float | None = None  # fixed, whatever loads are asked for
    batch: int = 100
    windows: int = 6
    judged: int = 2  # the first window that counts; negative: from the end


def _even(window: int, windows: int, rng: np.random.Generator) -> F64:
    return np.ones(TENTHS)


def _late(window: int, windows: int, rng: np.random.Generator) -> F64:
    return np.repeat([2 / 3, 4 / 3], TENTHS // 2)


def _early(window: int, windows: int, rng: np.random.Generator) -> F64:
    return np.repeat([4 / 3, 2 / 3], TENTHS // 2)


def _up(window: int, windows: int, rng: np.random.Generator) -> F64:
    return np.full(TENTHS, 1.4 if window >= 2 and window % 2 == 0 else 1.0)


def _down(window: int, windows: int, rng: np.random.Generator) -> F64:
    return np.full(TENTHS, 0.6 if window >= 2 and window % 2 == 0 else 1.0)


def _burst(window: int, windows: int, rng: np.random.Generator) -> F64:
    rate = np.ones(TENTHS)
    rate[rng.integers(TENTHS)] = 10.0
    return np.asarray(rate / rate.mean())


def _stops(window: int, windows: int, rng: np.random.Generator) -> F64:
    return np.where(np.arange(TENTHS) < 6, 1.0, 0.0 if window == windows - 1 else 1.0)


FAMILIES: Mapping[str, Family] = {
    "steady": Family(_even),
    "late": Family(_late),  # two thirds of the demand in the second half
    "early": Family(_early),
    "up": Family(_up),  # every other window 40 % above the one before
    "down": Family(_down),
    "bigger": Family(_even, bigger=1.5),  # from half time on
    "burst": Family(_burst),  # ten times the rate in a tenth of the window
    "stops": Family(_stops, judged=-1),  # after 60 % of the last window, for the first time
    "plenty": Family(_even, load=0.5),
    "single": Family(_even, batch=1, windows=3),
}
