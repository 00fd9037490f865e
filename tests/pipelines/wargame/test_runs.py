"""Many runs: means with intervals, and the promises of the war game over seeds."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from scipy import stats

from aurora_batch.settings import Settings
from aurora_batch.wargame.demand import load_of
from aurora_batch.wargame.events import DEFAULT_EVENTS
from aurora_batch.wargame.game import Plan
from pipelines import cli
from pipelines.wargame.runs import LOSSES, Interval, comparison, hurt, interval, many, ratio

SETTINGS = Settings()


def test_an_interval_is_students() -> None:
    """As SciPy's t test has it; one run has no width."""
    values = np.random.default_rng(0).normal(5, 2, 30)

    about = interval(values)

    test = stats.ttest_1samp(values, 5).confidence_interval(0.95)
    assert (about.low, about.high) == pytest.approx((test.low, test.high))
    assert about.mean == pytest.approx(values.mean())
    assert interval(values[:1]) == Interval(values[0], values[0], values[0])


def test_a_ratio_holds_its_interval() -> None:
    """Of paired runs; nothing below the line is infinite, not an error."""
    under = np.random.default_rng(0).uniform(1, 2, 50)

    about = ratio(3 * under, under)

    assert about == pytest.approx((3.0, 3.0, 3.0))
    assert ratio(under, 0 * under) == (np.inf, np.inf, np.inf)
    assert all(np.isnan(ratio(0 * under, 0 * under)))


def plans(load: float, runs: int = 5, steps: int = 40) -> list[Plan]:
    """Return plans of the documented scenario."""
    plan = Plan(SETTINGS, DEFAULT_EVENTS, steps, load=load)
    return [replace(plan, seed=seed) for seed in range(runs)]


def test_at_load_one_both_fill_and_at_four_global_loses_a_third_at_most() -> None:
    """More than 99 % each; what greedy loses is 3 times what global can have lost, or more."""
    one, four = (comparison(many(plans(load, steps=70), "both", map)) for load in (1.0, 4.0))

    assert one["greedy"]["fill_rate"].low > 0.99
    assert one["global"]["fill_rate"].low > 0.99
    assert four["greedy / global"][LOSSES].low >= 3


def test_where_demand_meets_capacity_global_fills_five_points_more() -> None:
    """`--demand 1`: the GPU-hours asked for are those that can be had."""
    load = load_of(SETTINGS, 1.0)

    found = comparison(many(plans(load, runs=6, steps=4), "both", map))

    assert found["global - greedy"]["fill_rate"].low >= 0.05
    assert found["greedy / global"][LOSSES].low >= 3


def test_the_command_tells_seed_by_seed_whatever_the_processes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row for each seed and policy, in order, the same bytes as in one process."""
    arguments = ["wargame", "--runs", "3", "--steps", "5", "--seed", "7", "--json"]
    assert cli.main([*arguments, "--out", str(tmp_path)]) == 0

    told = json.loads(capsys.readouterr().out)
    alone = many([replace(p, seed=7 + i) for i, p in enumerate(plans(1.0, 3, 5))], "both", map)
    text = (tmp_path / "runs.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in text[1:]] == ["7", "7", "8", "8", "9", "9"]
    assert len(text) == alone.num_rows + 1
    mean = told["intervals"]["greedy"]["value"]["mean"]
    assert mean == comparison(alone)["greedy"]["value"].mean


def test_the_search_writes_a_scenario_that_hurts_as_much(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it says of its worst scenario is what a run of that file gives."""
    search = ["wargame", "--search", "--budget", "12", "--steps", "30", "--load", "6", "--json"]
    assert cli.main([*search, "--hurt", "fill", "--policy", "greedy", "--out", str(tmp_path)]) == 0
    told = json.loads(capsys.readouterr().out)
    file = tmp_path / "worst_scenario.yaml"

    assert cli.main(["wargame", "--scenario", str(file), "--steps", "30", "--load", "6", "--policy",
                     "greedy", "--out", str(tmp_path), "--json"]) == 0  # fmt: skip
    run = json.loads(capsys.readouterr().out)

    assert told["runs"] == 12
    assert told["after"] < told["before"]
    assert run["policies"]["greedy"]["fill_rate"] == pytest.approx(told["after"], abs=1e-12)
    said = yaml.safe_load(file.read_text())["events"]
    assert sum(
        (e["target"], e["step"], e.get("size", 0)) != (d.target, d.step, d.size)
        for e, d in zip(said, DEFAULT_EVENTS, strict=True)
    ) == 1  # fmt: skip


@pytest.mark.parametrize("by", ["value", "fill", "regret"])
def test_what_a_search_makes_worst(by: str) -> None:
    """An outage of everybody hurts value and fill; regret is told apart by its sign."""
    plan = Plan(SETTINGS, (), 4, load=6.0)
    whole = replace(DEFAULT_EVENTS[1], target="all", step=0, duration=2)

    calm, storm = hurt(plan, "greedy", by, ()), hurt(plan, "greedy", by, (whole,))

    if by == "regret":
        assert calm < 0
        assert storm < 0
    else:
        assert storm == pytest.approx(calm / 2, rel=0.2)


def test_a_scenario_without_events_has_nothing_to_search(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit 2."""
    (tmp_path / "calm.yaml").write_text("events: []")
    said = ["wargame", "--search", "--scenario", str(tmp_path / "calm.yaml")]

    assert cli.main([*said, "--out", str(tmp_path)]) == 2

    assert "no event to change" in capsys.readouterr().err
