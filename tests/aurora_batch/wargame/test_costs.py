"""What an event cost is what would not have been without it."""

import pytest

from aurora_batch.settings import Settings
from aurora_batch.wargame.costs import EventCost, costs_of
from aurora_batch.wargame.events import DEFAULT_EVENTS, Event, Kind
from aurora_batch.wargame.game import Game, Plan
from pipelines.wargame.play import players

SETTINGS = Settings()


def costs(*events: Event, patience: int = 0) -> list[EventCost]:
    """Return the costs of a short run's events to `global`."""
    plan = Plan(SETTINGS, events, 20, seed=3, patience=patience)
    game = Game(plan, players("global", SETTINGS, arrivals=1))
    return list(costs_of(game, list(game.play())))


def test_an_outage_of_everybody_costs_all_that_its_steps_are_worth() -> None:
    """Fill and value go to nothing, and no request is routed either way to pay more."""
    (cost,) = costs(Event(Kind.OUTAGE, "all", 5, 3))

    assert (cost.fill_lost, cost.share, cost.extra_usd) == (1.0, 1.0, 0.0)
    assert cost.value > 0
    (patient,) = costs(Event(Kind.OUTAGE, "all", 5, 3), patience=4)
    assert patient.share < 0.01
    assert patient.requests > cost.requests


def test_a_price_spike_costs_usd() -> None:
    """Requests that only aethir can serve pay its higher price; nobody is refused."""
    (cost,) = costs(Event(Kind.PRICE_SPIKE, "aethir", 5, 3, 1.2))

    assert cost.extra_usd > 10
    assert cost.fill_lost == 0.0


def test_events_that_change_nothing_cost_nothing() -> None:
    """As does what happens after the run's end, which is not listed."""
    nothing = Event(Kind.PRICE_SPIKE, "vast", 5, 3, 1.0)

    (cost,) = costs(nothing, Event(Kind.OUTAGE, "akash", 20, 5))

    assert cost.event is nothing
    assert (cost.fill_lost, cost.extra_usd, cost.value) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("policy", ["greedy", "global"])
def test_each_player_is_told_the_cost_of_each_event(policy: str) -> None:
    """In the order of the scenario."""
    plan = Plan(SETTINGS, DEFAULT_EVENTS, 120, seed=1)
    game = Game(plan, players("both", SETTINGS, arrivals=1))
    stages = list(game.play())

    mine = [cost for cost in costs_of(game, stages) if cost.player == policy]

    assert [cost.event for cost in mine] == list(DEFAULT_EVENTS)
    slow = mine[2]
    assert slow.fill_lost > 0.01  # 420 + 200 ms is more than tenants accept
    assert mine[3].value == mine[4].value == 0.0  # more capacity than anybody needs; salad is idle
