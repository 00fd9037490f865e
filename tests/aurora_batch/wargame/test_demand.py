"""Requests of a run, and what surges do to them."""

import pyarrow as pa
import pyarrow.compute as pc

from aurora_batch.settings import Settings
from aurora_batch.wargame.demand import requests_of, steps_of
from aurora_batch.wargame.events import EVERYONE, Event, Kind

SETTINGS = Settings()


def made(*events: Event, steps: int = 30, seed: int = 3) -> pa.Table:
    """Return the requests of a short run."""
    return requests_of(SETTINGS, events, steps=steps, seed=seed, load=1.0)


def in_steps(requests: pa.Table, low: int, high: int) -> pa.Table:
    """Return those of steps low..high."""
    step = steps_of(requests, SETTINGS)
    return requests.filter(pa.array((step >= low) & (step < high)))


def test_a_surge_adds_requests_of_its_tenant_in_its_steps_and_touches_no_other() -> None:
    """About twice as many more of a tenant at x3; all else is the same, bit for bit."""
    calm = made()
    surge = made(Event(Kind.DEMAND_SURGE, "tenant-gaming", 10, 5, 3.0))

    known = pc.is_in(surge["request_id"], value_set=calm["request_id"].combine_chunks())
    assert surge.filter(known).combine_chunks().equals(calm.combine_chunks())
    added = surge.filter(pc.invert(known))
    assert set(added["tenant_id"].to_pylist()) == {"tenant-gaming"}
    assert set(steps_of(added, SETTINGS)) == {10, 11, 12, 13, 14}
    assert 80 < added.num_rows < 160  # of 12 x 2 x 5
    assert len(set(surge["request_id"].to_pylist())) == surge.num_rows
    at = surge["requested_at"].to_pylist()
    assert at == sorted(at)


def test_a_fall_of_demand_takes_requests_away_in_its_steps_alone() -> None:
    """A size below 1 is the share that stays; 0 leaves nothing."""
    calm, fallen = made(), made(Event(Kind.DEMAND_SURGE, EVERYONE, 10, 5, 0.0))
    half = made(Event(Kind.DEMAND_SURGE, EVERYONE, 10, 5, 0.5))

    assert in_steps(fallen, 10, 15).num_rows == 0
    assert 0.3 < in_steps(half, 10, 15).num_rows / in_steps(calm, 10, 15).num_rows < 0.7
    for low, high in ((0, 10), (15, 30)):
        assert in_steps(fallen, low, high).equals(in_steps(calm, low, high))


def test_overlapping_surges_add_up_and_do_not_depend_on_other_events() -> None:
    """Each surge brings the requests that it brings alone; one at the run's end is cut off."""
    one = Event(Kind.DEMAND_SURGE, "tenant-dao", 5, 10, 2.0)
    two = Event(Kind.DEMAND_SURGE, EVERYONE, 8, 100, 1.5)
    outage = Event(Kind.OUTAGE, "akash", 5, 10)
    calm, first, second = made(), made(one), made(two)

    both = made(outage, one, two)

    assert both.num_rows - calm.num_rows == (
        first.num_rows - calm.num_rows + second.num_rows - calm.num_rows
    )
    assert steps_of(both, SETTINGS).max() == 29
    assert made(Event(Kind.DEMAND_SURGE, EVERYONE, 30, 5, 9.0)).equals(calm)
