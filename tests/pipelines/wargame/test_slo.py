"""Service levels of providers, by hand."""

import math

import pytest

from aurora_batch.settings import Settings
from aurora_batch.wargame.events import Event, Kind
from aurora_batch.wargame.game import Game, Plan
from pipelines.wargame.play import played, players
from pipelines.wargame.slo import ServiceLevel, cost_table, service_levels, slo_table

SETTINGS = Settings()


def levels(*events: Event) -> dict[str, ServiceLevel]:
    """Return the levels after twenty steps, by provider."""
    game = Game(Plan(SETTINGS, events, 20, seed=3), players("global", SETTINGS, arrivals=1))
    return {level.provider: level for level in service_levels(played(game))}


def test_uptime_and_recovery() -> None:
    """Overlapping outages are one; one that the run's end cuts off has not recovered."""
    found = levels(
        Event(Kind.OUTAGE, "vast", 2, 3),
        Event(Kind.OUTAGE, "vast", 4, 3),
        Event(Kind.OUTAGE, "vast", 10, 1),
        Event(Kind.OUTAGE, "flux", 18, 9),
        Event(Kind.CAPACITY_LOSS, "salad", 0, 4, 0.0),
    )

    vast, flux, salad = found["vast"], found["flux"], found["salad"]
    assert (vast.uptime, vast.outages, vast.recovery_steps) == (14 / 20, 2, 3.0)
    assert (flux.uptime, flux.outages) == (18 / 20, 1)
    assert math.isnan(flux.recovery_steps)
    assert (salad.uptime, salad.recovery_steps) == (16 / 20, 4.0)
    assert found["akash"].uptime == 1.0
    assert (vast.events, flux.events, found["akash"].events) == (3, 1, 0)


def test_value_lost_is_the_mean_over_the_events_that_name_the_provider() -> None:
    """An outage of aethir alone; another provider's events are not its own."""
    found = levels(Event(Kind.OUTAGE, "aethir", 2, 3), Event(Kind.PRICE_SPIKE, "vast", 8, 2, 1.1))

    assert found["aethir"].value_lost_share > 0.04  # only aethir is fast enough for some
    assert found["vast"].value_lost_share == pytest.approx(0.0, abs=1e-3)
    assert found["akash"].value_lost_share == 0.0


def test_tables_of_a_run_without_events() -> None:
    """No cost, all up."""
    run = played(Game(Plan(SETTINGS, (), 2), players("both", SETTINGS, arrivals=1)))

    assert cost_table(run.costs).num_rows == 0
    assert slo_table(run)["uptime"].to_pylist() == [1.0] * 14
    assert slo_table(run)["mean_steps_to_recovery"].null_count == 14
