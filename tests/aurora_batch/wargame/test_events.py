"""Events begin and end on the right step."""

import pytest

from aurora_batch.wargame.events import DEFAULT_EVENTS, RULES, Event, Kind, down_spells, in_force


@pytest.mark.parametrize("kind", [k for k in Kind if k is not Kind.FLAPPING])
def test_an_event_is_in_force_from_its_step_until_its_duration_is_over(kind: Kind) -> None:
    """Steps 5 to 7 of an event at 5 for 3, and no other."""
    event = Event(kind, "akash", 5, 3, RULES[kind].size)

    assert [s for s in range(20) if event.in_force(s)] == [5, 6, 7]
    assert [s for s in range(20) if in_force((event,), s)] == [5, 6, 7]


@pytest.mark.parametrize(("size", "down"), [(1, [4, 6, 8]), (2, [4, 5, 8]), (9, [4, 5, 6, 7, 8])])
def test_flapping_is_down_first_and_up_every_other_time(size: int, down: list[int]) -> None:
    """So many steps down, as many up, until it ends, where it is up for good."""
    event = Event(Kind.FLAPPING, "akash", 4, 5, float(size))

    assert [s for s in range(20) if event.in_force(s)] == down


def test_the_documented_scenario() -> None:
    """Steps, targets, sizes and durations of the specification, an outage's five steps too."""
    said = [(str(e.kind), e.target, e.step, e.duration, e.size) for e in DEFAULT_EVENTS]

    assert said == [
        ("price_spike", "vast", 20, 10, 1.6),
        ("outage", "akash", 35, 10, 0.0),
        ("latency_spike", "render", 50, 15, 200.0),
        ("capacity_surge", "ionet", 70, 25, 1.5),
        ("reputation_drop", "salad", 90, 20, 10.0),
    ]
    assert RULES[Kind.OUTAGE].duration == 5
    assert {r.duration for k, r in RULES.items() if k is not Kind.OUTAGE} == {10}


def test_spells_at_both_ends_count() -> None:
    """A spell may begin with the run and last to its end."""
    assert list(down_spells([False, True, False])) == [(0, 1), (2, 1)]
    assert list(down_spells([])) == []
    assert list(down_spells([False, False])) == [(0, 2)]
