"""What events do to a fleet, and that nothing of it stays."""

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_batch.fleet import Fleet, default_fleet
from aurora_batch.wargame.effects import fleet_at
from aurora_batch.wargame.events import EVERYONE, RULES, Event, Kind, in_force

FLEET = default_fleet()


def differences(fleet: Fleet, other: Fleet) -> dict[str, list[int]]:
    """Return the columns in which two fleets differ, with the places where they do."""
    found = {}
    for field in fields(Fleet):
        one, two = getattr(fleet, field.name), getattr(other, field.name)
        if isinstance(one, np.ndarray):
            places = np.unique(np.nonzero(one != two)[0]).tolist()
        else:
            places = [] if one == two else [-1]
        if places and field.name != "version":
            found[field.name] = places
    return found


def offers_of(provider: str) -> list[int]:
    """Return the offers of a provider."""
    return np.flatnonzero(FLEET.offer_provider == FLEET.provider_ids.index(provider)).tolist()


def pools_of(provider: str) -> list[int]:
    """Return the pools of a provider."""
    return np.flatnonzero(FLEET.pool_provider == FLEET.provider_ids.index(provider)).tolist()


# What each kind changes, and into what.
CHANGES = {
    Kind.OUTAGE: ("offer_active", lambda was: was & False),
    Kind.FLAPPING: ("offer_active", lambda was: was & False),
    Kind.PRICE_SPIKE: ("offer_price", lambda was: was * 1.5),
    Kind.LATENCY_SPIKE: ("offer_latency_ms", lambda was: was + 200),
    Kind.CAPACITY_SURGE: ("pool_capacity", lambda was: was * 1.5),
    Kind.CAPACITY_LOSS: ("pool_capacity", lambda was: was * 0.5),
    Kind.REPUTATION_DROP: ("offer_reputation", lambda was: was - 10),
}


@pytest.mark.parametrize("kind", list(CHANGES))
def test_an_event_changes_its_column_of_its_provider_and_nothing_else(kind: Kind) -> None:
    """From its first step to its last; before and after, the fleet is the very same value."""
    event = Event(kind, "vast", 3, 1 if kind is Kind.FLAPPING else 2, RULES[kind].size)
    column, change = CHANGES[kind]
    at = pools_of("vast") if column == "pool_capacity" else offers_of("vast")

    fleets = [fleet_at(FLEET, in_force((event,), step)) for step in range(8)]

    for step, fleet in enumerate(fleets):
        if event.step <= step < event.end:
            assert differences(FLEET, fleet) == {column: at}
            np.testing.assert_array_equal(
                getattr(fleet, column)[at], change(getattr(FLEET, column)[at])
            )
            assert fleet.version != FLEET.version
        else:
            assert fleet is FLEET


def test_a_lost_region_is_served_by_nobody_who_lists_it() -> None:
    """Who lists another one serves that; who lists no other is not active; `global` stays."""
    event = Event(Kind.REGION_LOSS, "us-west-2", 3, 2)

    fleets = [fleet_at(FLEET, in_force((event,), step)) for step in range(8)]

    assert [fleet is FLEET for fleet in fleets] == [True] * 3 + [False] * 2 + [True] * 3
    lost = fleets[3]
    served = {FLEET.provider_ids[p] for p in lost.offer_provider[lost.region_match("us-west-2")]}
    assert served == {"salad"}
    down = {FLEET.provider_ids[p] for p in lost.offer_provider[~lost.offer_active]}
    assert down == {"ionet", "vast"}
    np.testing.assert_array_equal(lost.region_match("eu-west-1"), FLEET.region_match("eu-west-1"))
    assert lost.offer_regions[offers_of("akash")[0]] == ("eu-west-1",)


def test_a_surge_of_demand_leaves_the_fleet_alone() -> None:
    """It is the requests that change."""
    assert fleet_at(FLEET, (Event(Kind.DEMAND_SURGE, "all", 0, 5, 3.0),)) is FLEET


def test_overlapping_events_compose_and_each_ends_for_itself() -> None:
    """Factors multiply, points add up, one outage is enough, a nested event leaves the outer."""
    outer = Event(Kind.PRICE_SPIKE, "vast", 2, 8, 1.6)
    inner = Event(Kind.PRICE_SPIKE, "vast", 4, 2, 2.0)
    crossing = Event(Kind.PRICE_SPIKE, "vast", 8, 6, 0.5)
    down, again = Event(Kind.OUTAGE, "vast", 3, 4), Event(Kind.OUTAGE, EVERYONE, 5, 6)
    slow = [Event(Kind.LATENCY_SPIKE, "vast", 5, 5, 100.0), Event(Kind.LATENCY_SPIKE, "vast", 7, 5)]
    fall = [Event(Kind.REPUTATION_DROP, "vast", 1, 9, 40.0)] * 2
    events = (outer, inner, crossing, down, again, *slow, *fall)
    offer = offers_of("vast")[0]

    fleets = [fleet_at(FLEET, in_force(events, step)) for step in range(16)]

    factor = [f.offer_price[offer] / FLEET.offer_price[offer] for f in fleets]
    said = [1, 1, 1.6, 1.6, 3.2, 3.2, 1.6, 1.6, 0.8, 0.8, 0.5, 0.5, 0.5, 0.5, 1, 1]
    assert factor == pytest.approx(said, rel=1e-15)
    assert [bool(f.offer_active[offer]) for f in fleets] == [not 3 <= s < 11 for s in range(16)]
    added = [f.offer_latency_ms[offer] - FLEET.offer_latency_ms[offer] for f in fleets]
    assert added == [0] * 5 + [100] * 5 + [0] * 6  # the second one has size 0
    assert [f.offer_reputation[offer] for f in fleets] == [62] + [0] * 9 + [62] * 6
    assert differences(FLEET, fleets[-1]) == {}


EVENTS = st.builds(
    lambda kind, target, step, duration, part: Event(
        kind,
        "us-west-2" if kind is Kind.REGION_LOSS else target,
        step,
        duration,
        RULES[kind].low + part * (min(RULES[kind].high, 300.0) - RULES[kind].low),
    ),
    st.sampled_from(list(Kind)),
    st.sampled_from([*FLEET.provider_ids, EVERYONE]),
    st.integers(0, 12),
    st.integers(1, 8),
    st.floats(0, 1),
)


@given(st.lists(EVENTS, max_size=8))
def test_any_scenario_leaves_the_fleet_as_it_was(events: list[Event]) -> None:
    """Once all is over, bit for bit; and the order in which events are listed changes no effect."""
    end = max((event.end for event in events), default=0)
    backwards = list(reversed(events))

    for step in range(end + 2):
        fleet = fleet_at(FLEET, in_force(events, step))
        other = fleet_at(FLEET, in_force(backwards, step))
        assert fleet.offer_regions == other.offer_regions
        for field in ("offer_active", "serves"):
            assert np.array_equal(getattr(fleet, field), getattr(other, field))
        for field in ("offer_price", "offer_latency_ms", "pool_capacity", "offer_reputation"):
            np.testing.assert_allclose(getattr(fleet, field), getattr(other, field), rtol=1e-12)

    assert fleet is FLEET
