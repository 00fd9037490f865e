"""Scenario files: what they mean, and what is wrong with them in one line."""

import json
from pathlib import Path

import pytest
import yaml

from aurora_batch.errors import SettingsError
from aurora_batch.settings import Settings
from aurora_batch.wargame.events import DEFAULT_EVENTS, RULES, Event, Kind
from aurora_batch.wargame.scenario import load, to_document

SETTINGS = Settings()


def read(folder: Path, text: str, *, steps: int = 50, seed: int = 1) -> tuple[Event, ...]:
    """Load a scenario of that text."""
    path = folder / "scenario.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path, SETTINGS, steps=steps, seed=seed)


def test_events_on_a_schedule(tmp_path: Path) -> None:
    """In the order of the file, with each kind's duration and size where the file says none."""
    events = read(
        tmp_path,
        """
        events:
          - {type: outage, step: 35, target: akash}
          - {type: price_spike, step: 20, target: vast, size: 1.6, duration: 3}
          - {type: demand_surge, step: 1, target: tenant-dao}
          - {type: region_loss, step: 2, target: eu-west-1}
          - {type: flapping, step: 0}
        """,
    )

    assert events == (
        Event(Kind.OUTAGE, "akash", 35, 5, 0.0),
        Event(Kind.PRICE_SPIKE, "vast", 20, 3, 1.6),
        Event(Kind.DEMAND_SURGE, "tenant-dao", 1, 10, 2.0),
        Event(Kind.REGION_LOSS, "eu-west-1", 2, 10, 0.0),
        Event(Kind.FLAPPING, "all", 0, 10, 1.0),
    )


def test_no_file_is_the_documented_scenario_and_an_empty_one_is_none(tmp_path: Path) -> None:
    """The default needs no file; nothing said is nothing done."""
    assert load(None, SETTINGS, steps=5, seed=1) == DEFAULT_EVENTS
    assert read(tmp_path, "") == ()
    assert read(tmp_path, "events: []") == ()


def test_what_is_written_is_what_was_read(tmp_path: Path) -> None:
    """`to_document` and `load` are each other's inverse, for every kind."""
    events = tuple(
        Event(
            kind, {"region": "us-west-2", "tenant": "all", "provider": "flux"}[rule.target],
            number, number + 1, rule.size,
        )
        for number, (kind, rule) in enumerate(RULES.items())
    )  # fmt: skip

    assert read(tmp_path, yaml.safe_dump(to_document(events))) == events


DRAWS = """
draws:
  - {type: flapping, every: 5, duration: [2, 4], size: [1, 3], targets: [vast, salad]}
  - {type: outage, every: 10}
"""


def test_chance_is_seeded(tmp_path: Path) -> None:
    """The same seed draws the same events, within what the file allows; another seed others."""
    one, two = (read(tmp_path, DRAWS, steps=400) for _ in range(2))

    assert one == two
    assert one != read(tmp_path, DRAWS, steps=400, seed=2)
    flapping = [e for e in one if e.kind is Kind.FLAPPING]
    outages = [e for e in one if e.kind is Kind.OUTAGE]
    assert 50 < len(flapping) < 110
    assert 20 < len(outages) < 65
    assert {e.target for e in flapping} == {"vast", "salad"}
    assert {e.duration for e in flapping} == {2, 3, 4}
    assert all(1 <= e.size <= 3 for e in flapping)
    assert {e.target for e in outages} == set(SETTINGS.providers)
    assert {e.duration for e in outages} == {5}


@pytest.mark.parametrize("published", [False, True])
def test_a_trace_becomes_outages(tmp_path: Path, published: bool) -> None:
    """Where its tick says so at a step's start, in either form; after its end all is up."""
    up = [1, 0, 0, 1, 0]
    ours = {"gap_seconds": 150, "available": up}
    theirs = {"metadata": {"gap_seconds": 150, "zone": "x"}, "data": [1 - u for u in up]}
    (tmp_path / "spot.json").write_text(json.dumps(theirs if published else ours))

    events = read(tmp_path, "traces: [{target: vast, file: spot.json}]", steps=20)

    # Steps of 60 s begin at ticks 0 0 0 1 1 2 2 2 3 3 4 4 4 and then none.
    assert events == (Event(Kind.OUTAGE, "vast", 3, 5), Event(Kind.OUTAGE, "vast", 10, 3))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("events: [{type: outage, step: 1, target: nobody}]", "events.0.target is 'nobody'; exp"),
        ("events: [{type: outage, step: 1, target: akash, duration: -3}]", "duration is -3;"),
        ("events: [{type: outage, step: 1, target: akash, duration: 0}]", "duration is 0;"),
        ("events: [{type: outage, step: -1, target: akash}]", "events.0.step is -1; expected a wh"),
        ("events: [{type: outage, target: akash}]", "events.0.step is missing; expected"),
        ("events: [{type: storm, step: 1, target: akash}]", "expected one of outage, price_spike"),
        ("events: [{type: outage, step: 1, target: akash, size: 2}]", "size is 2.0; expected no"),
        ("events: [{type: price_spike, step: 1, target: vast, size: 0}]", "factor on the prices"),
        ("events: [{type: capacity_loss, step: 1, target: vast, size: 2}]", "from 0 to 1"),
        ("events: [{type: capacity_surge, step: 1, size: .nan}]", "events.0.size is nan"),
        ("events: [{type: region_loss, step: 1}]", "one of eu-west-1, us-west-2"),
        ("events: [{type: demand_surge, step: 1, target: akash}]", "one of tenant-research"),
        ("events: [{type: outage, step: 1, when: 2}]", "events.0.when is 2; expected one of type"),
        ("events: {type: outage}", "events is {'type': 'outage'}; expected a list"),
        ("events: [3]", "events.0 is 3; expected a mapping"),
        ("storms: []", "storms is unknown; expected one of events, draws, traces"),
        ("- 3", "the file is [3]; expected a mapping with events"),
        ("draws: [{type: outage, every: 0}]", "draws.0.every is 0;"),
        ("draws: [{type: outage, every: 9, targets: [x]}]", "draws.0.targets is 'x'; expected one"),
        ("draws: [{type: outage, every: 9, duration: [5, 2]}]", "low <= high"),
        ("draws: [{type: price_spike, every: 9, size: [1, 200]}]", "draws.0.size is 200.0;"),
        ("traces: [{target: vast, file: absent.json}]", "absent.json: the file is unreadable"),
        ("traces: [{target: x, file: absent.json}]", "traces.0.target is 'x'"),
    ],
)
def test_what_is_wrong_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    """File, key, value and what was expected."""
    with pytest.raises(SettingsError) as error:
        read(tmp_path, text)

    line = str(error.value)
    assert said in line
    assert "\n" not in line
    assert str(tmp_path) in line


@pytest.mark.parametrize(
    "trace",
    [
        {"gap_seconds": 0, "available": [1]},
        {"gap_seconds": 60, "available": [2]},
        {"gap_seconds": 60},
        {"metadata": {}, "data": [1]},
        [1, 0],
    ],
)
def test_a_trace_that_is_none_is_one_line(tmp_path: Path, trace: object) -> None:
    """It names the file and shows a trace."""
    (tmp_path / "spot.json").write_text(json.dumps(trace))

    with pytest.raises(SettingsError, match=r"spot.json: .*gap_seconds"):
        read(tmp_path, "traces: [{target: vast, file: spot.json}]")
