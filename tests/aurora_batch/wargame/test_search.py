"""The search changes one event, within its budget, and finds the same worst every time."""

from collections.abc import Sequence

import pytest

from aurora_batch.settings import Settings
from aurora_batch.wargame.events import DEFAULT_EVENTS, RULES, Event, Kind
from aurora_batch.wargame.scenario import targets
from aurora_batch.wargame.search import GENERATION, Found, search

NAMES = targets(Settings())


class Worst:
    """A made-up policy: an outage of aethir at step 77 is what hurts it most."""

    def __init__(self) -> None:
        self.played: list[tuple[Event, ...]] = []
        self.calls: list[int] = []

    def __call__(self, scenarios: Sequence[tuple[Event, ...]]) -> list[float]:
        """Return how far each scenario is from that."""
        self.played += scenarios
        self.calls.append(len(scenarios))
        return [
            min(
                abs(e.step - 77) + 50 * (e.target != "aethir") + 50 * (e.kind is not Kind.OUTAGE)
                for e in events
            )
            for events in scenarios
        ]


def found(worst: Worst, budget: int = 200, seed: int = 0) -> Found:
    """Search the documented scenario."""
    return search(DEFAULT_EVENTS, NAMES, worst, steps=120, budget=budget, seed=seed)


def test_it_finds_what_hurts_most() -> None:
    """The outage, moved to aethir and to about that step."""
    best = found(Worst())

    assert best.number == 1
    assert (best.events[1].target, best.events[1].duration) == ("aethir", 10)
    assert abs(best.events[1].step - 77) <= 1
    assert best.score < best.base_score


@pytest.mark.parametrize("budget", [1, 2, 8, 30])
def test_it_keeps_to_its_budget_and_is_reproducible(budget: int) -> None:
    """So many runs, no scenario twice, generations of a fixed size; the same seed, the same way."""
    one, two = Worst(), Worst()

    first, second = found(one, budget), found(two, budget)

    assert len(one.played) == len(set(one.played)) == first.runs == budget
    assert max(one.calls) <= GENERATION
    assert (one.played, first) == (two.played, second)


def test_only_one_event_is_changed_and_stays_within_the_rules() -> None:
    """Its duration is kept, its size at most doubled, its steps within the run."""
    worst = Worst()
    found(worst, 300)

    for events in worst.played[1:]:
        (changed,) = [i for i, e in enumerate(events) if e != DEFAULT_EVENTS[i]]
        event, base = events[changed], DEFAULT_EVENTS[changed]
        assert (event.kind, event.duration) == (base.kind, base.duration)
        assert 0 <= event.step <= 120 - event.duration
        assert event.target in NAMES(event.kind)
        rule = RULES[event.kind]
        assert rule.low <= event.size <= rule.high


def test_where_nothing_can_be_changed_it_stops() -> None:
    """A run of one step with one region: every change is the event itself."""
    event = Event(Kind.REGION_LOSS, "us-west-2", 0, 1)

    best = search((event,), lambda _: ["us-west-2"], Worst(), steps=1, budget=50, seed=0)

    assert (best.runs, best.number, best.events) == (1, None, (event,))
