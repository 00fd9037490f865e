"""What a window will still bring, and the reserve prices that keep capacity for it.

A batch that is optimal by itself spends what a later, more valuable request will need. So a batch
is charged for what it takes: recent requests stand for those still to come, what is left of pools
and budgets is scaled by (GPU-hours of the sample / GPU-hours still expected), and the prices at
which the sample would just fit are the reserve prices of the next batches. What is not worth its
price is not served, though capacity remains (bid-price control, Talluri and van Ryzin 1998; solved
again as the window passes, Jasin and Kumar 2012). Prices fall to zero as the window ends, or as
demand dries up.

Prices are solved anew at a window's first batch, which waits for them, and so from few requests;
from all soon after. Then they are asked for at moments that event time and the GPU-hours asked for
set, and charged a little later, at a moment set in the same way: a worker solves them in another
thread meanwhile, and no batch waits. They come from nothing but what the router's state held when
they were asked for, so they are the same wherever and whenever that is done.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from threading import Event, Lock

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch import scoring
from aurora_batch.allocation import Prices, find_prices
from aurora_batch.allocation.meter import UNLIMITED, Meter, UnhurriedMeter
from aurora_batch.demand import Demand, Forecast
from aurora_batch.fleet import Fleet
from aurora_batch.ledger import NO_WINDOW, Ledger
from aurora_batch.policies import Task
from aurora_batch.sample import Sample
from aurora_batch.scoring import Tenants
from aurora_batch.settings import Settings
from kernels.pairs import Supply

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

# Demand may end early, which no forecast knows, and what is kept then is lost. So nothing is kept
# for this part of a window's GPU-hours, until so much of the window has passed that an early end is
# little lost. A constant part sells evenly, and the price of being wrong grows with its square. It
# is of a window that wants twice the capacity, or more, and of others less in proportion, down to a
# share: the more is wanted, the less what is sold ahead is missed.
ENDS = 0.107
ENDS_LOAD, ENDS_LEAST = 2.0, 0.6
ENDS_UNTIL = 0.6
LEAST_SAMPLE = 50  # requests, before they say anything of others
# Prices are solved again once this part of a usual window's GPU-hours was asked for (or so much as
# comes in `resolve_every`), and at least so many times a window.
SHARE = 1 / 45
LEAST_OFTEN = 30
# Prices are charged after this part of the time, or of the GPU-hours, between two of them, so that
# they are solved by then; at once where a single batch brings that much.
DELAY = 1 / 4
# Requests, evenly taken from the sample, that prices are solved from: so many for each price, which
# few prices need few of, within limits; and the least where a batch waits for them.
PRICED, MOST_PRICED, FIRST_PRICED = 400, 16_384, 4_096


class Once:
    """Prices that whoever asks first computes, and others wait for.

    Who computes them before they are needed takes its time, until somebody does wait.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._wanted = Event()
        self._known: tuple[str, Prices] | None = None

    @property
    def busy(self) -> bool:
        """Whether somebody computes them now."""
        return self._lock.locked()

    def get(self, fleet_version: str, compute: Callable[[Meter], Prices], share: float) -> Prices:
        """Return the prices for that fleet; to compute them takes a share of the time."""
        if share == 1.0:
            self._wanted.set()
        with self._lock:
            if self._known is None or self._known[0] != fleet_version:
                meter = UnhurriedMeter(UNLIMITED, 0.0, share=share, wanted=self._wanted)
                self._known = fleet_version, compute(meter)
            return self._known[1]


@dataclass(frozen=True, eq=False)
class Outlook:
    """Recent demand and the reserve prices; never changed in place."""

    demand: Demand = field(default_factory=Demand)
    sample: Sample = field(default_factory=lambda: Sample(0))
    now_us: int = NO_WINDOW  # the latest event time seen
    solved_us: int = NO_WINDOW  # when reserve prices were last asked for
    fresh_hours: float = 0.0  # GPU-hours asked for since then
    due: bool = True  # the next batch needs new ones at once
    asked: "Asked | None" = None  # those that will be charged soon
    reserve: Prices | None = None  # those that are
    length_us: int = 1  # of a window
    fleet_version: str = ""  # of the reserve prices

    @property
    def gone(self) -> float:
        """Part of the window that has passed."""
        return float(np.clip((self.now_us - self.demand.window_us) / self.length_us, 0.0, 1.0))

    @property
    def prices(self) -> Prices | None:
        """The reserve prices; None where nothing is kept, so that a batch is its own optimum."""
        kept = self.reserve is not None and (self.reserve.pool.any() or self.reserve.budget.any())
        return self.reserve if kept else None

    @property
    def forecast(self) -> Forecast | None:
        """What is still expected in the window; None where nothing is known yet."""
        return self.demand.expected(self.gone)


@dataclass(frozen=True, eq=False)
class Asked:
    """The state that reserve prices are solved from, while batches go on."""

    outlook: Outlook
    ledger: Ledger
    at_once: bool = True  # from the next batch on
    most: int = MOST_PRICED  # requests to solve them from, and no more than few prices need
    once: Once = field(default_factory=Once)


def enter(
    outlook: Outlook, ledger: Ledger, now_us: int, fleet: Fleet, settings: Settings
) -> Outlook:
    """Return the outlook with the reserve prices for a batch that begins at `now_us`.

    `ledger` is that of the batch's window. Prices that were asked for some time ago are charged
    from here on; where another thread is still at them, it is waited for.
    """
    length_us = max(1, round(settings.router.window_s * 1e6))
    if ledger.window_us > outlook.demand.window_us:
        outlook = replace(
            outlook,
            demand=outlook.demand.enter(ledger.window_us, length_us),
            now_us=max(now_us, ledger.window_us),
            length_us=length_us,
            reserve=None,  # those of a window's end are no start for those of a whole one
            due=True,
        )
    elif now_us - outlook.solved_us > 2 * _rarest_us(outlook, settings):  # after a silence
        outlook = replace(outlook, now_us=max(now_us, outlook.now_us), due=True)
    if outlook.fleet_version != fleet.version:
        outlook = replace(outlook, reserve=None, due=True, fleet_version=fleet.version)
    if outlook.due:
        outlook = replace(outlook, asked=None, sample=outlook.sample.gathered())
        first = Asked(outlook, ledger, most=FIRST_PRICED)
        more = outlook.sample.rows > FIRST_PRICED
        return replace(
            outlook, reserve=look_ahead(first, fleet, settings), due=False,
            asked=Asked(outlook, ledger, at_once=False) if more else None,
            solved_us=outlook.now_us, fresh_hours=0.0,
        )  # fmt: skip
    asked = outlook.asked
    if asked is None or not (asked.at_once or _passed(outlook, now_us, DELAY, settings)):
        return outlook
    return replace(outlook, reserve=look_ahead(asked, fleet, settings), asked=None)


def observe(
    outlook: Outlook, event_us: I64, requests: pa.Table, ledger: Ledger, settings: Settings
) -> Outlook:
    """Return the outlook after a batch.

    Parameters
    ----------
    event_us
        Event times of its requests, (n,).
    ledger
        As the batch left it.
    """
    hours = np.asarray(requests["gpu_hours"].to_numpy(), np.float64)
    now_us = int(max(event_us.max(initial=outlook.now_us), outlook.now_us))
    after = replace(
        outlook,
        demand=outlook.demand.add(event_us, hours, outlook.length_us),
        sample=replace(outlook.sample, most=settings.router.lookahead.sample).add(requests),
        now_us=now_us,
        fresh_hours=outlook.fresh_hours + float(hours.sum()),
    )
    if after.asked is None and _passed(after, now_us, 1.0, settings):
        first_us = int(max(event_us.min(initial=now_us), outlook.demand.window_us))
        batch = replace(after, solved_us=first_us, fresh_hours=float(hours.sum()))
        after = replace(after, sample=after.sample.gathered())
        asked = Asked(after, ledger, _passed(batch, now_us, DELAY, settings))
        return replace(after, asked=asked, solved_us=now_us, fresh_hours=0.0)
    return after


def _passed(outlook: Outlook, now_us: int, part: float, settings: Settings) -> bool:
    """Whether, since prices were asked for, so much of the way to the next ones has passed."""
    usual = outlook.demand.usual()
    share = max(SHARE, settings.router.lookahead.resolve_every * 1e6 / outlook.length_us)
    enough = 0.0 < part * share * usual <= outlook.fresh_hours
    return enough or now_us - outlook.solved_us >= part * _rarest_us(outlook, settings)


def _rarest_us(outlook: Outlook, settings: Settings) -> float:
    often = settings.router.lookahead.resolve_every * 1e6
    return float(max(often, outlook.length_us / LEAST_OFTEN))


def look_ahead(asked: Asked, fleet: Fleet, settings: Settings, share: float = 1.0) -> Prices:
    """Return the reserve prices at this state; computed once, by the thread that asks first.

    A thread that prepares them beside others may do so in a `share` of the time.
    """

    def compute(meter: Meter) -> Prices:
        return _reserve_prices(asked, fleet, settings, meter)

    return asked.once.get(fleet.version, compute, share)


def _reserve_prices(asked: Asked, fleet: Fleet, settings: Settings, meter: Meter) -> Prices:
    outlook, ledger = asked.outlook, asked.ledger
    none = Prices(np.zeros(ledger.pool_left.size), np.zeros(ledger.budget_left.size))
    forecast = outlook.forecast
    requests = outlook.sample.table()
    if forecast is None or forecast.hours <= 0 or requests.num_rows < LEAST_SAMPLE:
        return none
    tenants = Tenants.from_settings(settings)
    prices = ledger.pool_left.size + ledger.budget_left.size
    most = min(asked.most, max(FIRST_PRICED, PRICED * prices))
    if requests.num_rows > most:
        requests = requests.take(pa.array(np.arange(most) * requests.num_rows // most))
    columns = scoring.columns(requests, fleet, tenants)
    whole = Supply(ledger.pool_total.copy(), ledger.pool_total.copy(), tenants.budget.copy())
    problem = Task(columns, fleet, whole, settings.router).problem
    scale = float(problem.demand.sum()) / _counted_on(
        forecast.hours, outlook, float(ledger.pool_total.sum())
    )
    scaled = replace(
        problem,
        capacity=ledger.pool_left * scale,
        budget=None if problem.budget is None else ledger.budget_left * scale,
    )
    warm = outlook.reserve
    if warm is not None:
        known = warm.pool.any() or warm.budget.any()
        warm = Prices(warm.pool, warm.budget[: scaled.supply.budget.size]) if known else None
    found = find_prices(scaled, warm, meter)
    missing = none.budget.size - found.budget.size  # where no request of the sample draws on one
    return Prices(found.pool, np.pad(found.budget, (0, missing)))


def _counted_on(expected: float, outlook: Outlook, capacity: float) -> float:
    """Return the GPU-hours that capacity is kept for, of those that are expected."""
    if outlook.gone >= ENDS_UNTIL:
        return expected
    total = expected + float(outlook.demand.current.sum())
    crowded = np.clip(total / max(ENDS_LOAD * capacity, 1e-300), ENDS_LEAST, 1.0)
    return max(expected - ENDS * float(crowded) * total, expected / 2)
