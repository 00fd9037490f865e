"""Charts are drawn of any run: a single step, no requests, more events than words fit."""

import pytest

from aurora_batch.settings import Settings
from aurora_batch.wargame.events import DEFAULT_EVENTS, RULES, Event, Kind
from aurora_batch.wargame.game import Game, Plan
from pipelines.wargame.charts import CHARTS, rows_of
from pipelines.wargame.play import played, players

SETTINGS = Settings()
CROWD = tuple(
    Event(kind, {"region": "us-west-2"}.get(rule.target, "all"), step, 4, rule.size)
    for step in range(0, 24, 8)
    for kind, rule in RULES.items()
)
NOTHING = (Event(Kind.DEMAND_SURGE, "all", 0, 9, 0.0),)


@pytest.mark.parametrize(
    ("events", "steps"), [(DEFAULT_EVENTS, 1), (NOTHING, 3), (CROWD, 24), ((), 2)]
)
def test_every_chart_is_a_png(events: tuple[Event, ...], steps: int) -> None:
    """Warnings, such as of a layout that does not fit, would be errors."""
    plan = Plan(SETTINGS, events, steps, arrivals=2, patience=1)
    run = played(Game(plan, players("both", SETTINGS, arrivals=2)), costs=False)

    for name, draw in CHARTS.items():
        image = draw(run)
        assert image.startswith(b"\x89PNG"), name
        assert b"Software" not in image


def test_labels_do_not_write_over_each_other() -> None:
    """Each stands in a row of its own, but for those that are far apart."""
    rows = rows_of(CROWD, 120)
    far = [Event(Kind.OUTAGE, "akash", step, 5) for step in (5, 60, 100)]

    assert len(set(rows[: len(RULES)])) == len(RULES)
    assert rows_of(far, 120) == [0, 0, 0]
    assert rows_of([far[0], far[0], far[1]], 120) == [0, 1, 0]
