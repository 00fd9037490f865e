"""The commands of the benchmarks, at their smallest."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cost, gap_over_time, gap_sets, horizons, lookahead, replay, table
from benchmarks.runs import Run

PNG = b"\x89PNG"


def test_table_has_a_row_a_method() -> None:
    """Methods that did not run have a row of dashes."""
    made = table.drawn("granular", [Run("granular", "greedy", 0.1, 1.0, float("nan"))], seeds=1)
    rows = list(zip(*(column.cells for column in made.columns), strict=True))

    assert [row[0] for row in rows] == list(table.METHODS)
    assert ("SCIP", "-", "-", "-", "-") in rows
    assert ("greedy", "0.1000", "-", "-", "-") in rows


def test_table_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """An object a run; what a method does not give is null."""
    assert table.main(["--instances", "few_pools", "--quick", "--json"]) == 0

    found = {run["method"]: run for run in json.loads(capsys.readouterr().out)}
    assert found["ours, ~25 ms"]["of_best_bound"] > 0.999
    assert found["greedy"]["own_gap"] is None


@pytest.mark.parametrize(("ci", "code"), [("true", 1), ("", 0)])
def test_missing_gap_sets_are_said(
    ci: str, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Without the data the table says so, and fails in CI."""
    monkeypatch.setattr(gap_sets, "FOLDER", tmp_path / "absent")
    monkeypatch.setenv("CI", ci)

    assert table.main(["--gap"]) == code
    assert "NO GAP SETS" in capsys.readouterr().err


def test_unknown_instances_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong name is answered with those there are."""
    with pytest.raises(SystemExit):
        table.main(["--instances", "easy"])

    assert "no instance 'easy'; there are plenty" in capsys.readouterr().err


def test_gap_over_time_is_drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A picture, in a folder that is made for it."""
    monkeypatch.setattr(gap_over_time, "WORK", (100_000, 200_000))
    out = tmp_path / "new" / "gap.png"

    assert (
        gap_over_time.main(["--instances", "few_pools", "--limits", "0.1", "--out", str(out)]) == 0
    )
    assert out.read_bytes().startswith(PNG)


def test_cost_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture, and the exponent on the screen."""
    out = tmp_path / "cost.png"

    assert cost.main(["--requests", "100,200", "--out", str(out)]) == 0
    assert out.read_bytes().startswith(PNG)
    assert "exponent" in capsys.readouterr().out


def test_a_power_law_is_fitted() -> None:
    """The slope is the exponent."""
    x = np.array([1.0, 10.0, 100.0])

    assert cost.fitted(x, 3.0 * x**1.5)[0] == pytest.approx(1.5)


SMALL = ["--pools", "3", "--loads", "0.8,2", "--per-window", "60"]


def test_value_over_load_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A picture beside the table, of the chart's own families; where it is goes to stderr."""
    out = tmp_path / "new" / "horizons.png"

    assert horizons.main([*SMALL, "--chart", str(out), "--json"]) == 0

    captured = capsys.readouterr()
    rows = json.loads(captured.out)["rows"]
    assert [(row["family"], row["load"]) for row in rows] == [
        (family, load) for family in horizons.DRAWN for load in (0.8, 2.0)
    ]
    assert captured.err.replace("\n", "") == f"written: {out}"
    assert out.read_bytes().startswith(PNG)


def test_one_contestant_at_a_fixed_load_is_drawn(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A row, a panel, a point; silent where that is asked for."""
    out = tmp_path / "one.png"
    chosen = ["--families", "plenty", "--contestants", "global", "--quiet"]

    assert horizons.main([*SMALL, *chosen, "--chart", str(out)]) == 0
    captured = capsys.readouterr()
    assert captured.out.splitlines()[-1].split()[:3] == ["3", "plenty", "0.5"]
    assert captured.err == ""
    assert out.read_bytes().startswith(PNG)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--per-window", "0"], "--per-window 0: expected a number >= 1"),
        (["--families", "often"], "expected some of steady, late"),
    ],
)
def test_what_horizons_cannot_decide_is_said(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is decided."""
    with pytest.raises(SystemExit):
        horizons.main(options)

    assert said in capsys.readouterr().err


def test_replay_takes_no_more_memory_for_a_longer_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four times the requests: a rate and a picture of both, in the same memory but for a quarter.

    Which thread of a replay is ahead at the peak is chance (a seventh at most was seen); a log that
    is kept would need twice the memory.
    """
    out = tmp_path / "replay.png"
    sizes = ["--requests", "300000,1200000", "--policies", "greedy", "--rounds", "1"]
    assert replay.main([*sizes, "--json", "--out", str(out)]) == 0

    short, long = json.loads(capsys.readouterr().out)
    assert [short["requests"], long["requests"]] == [300_000, 1_200_000]
    assert long["peak_mib"] < 1.25 * short["peak_mib"]
    assert out.read_bytes().startswith(PNG)


def test_looking_ahead_beside_without(capsys: pytest.CaptureFixture[str]) -> None:
    """Both decide the same batches, and the ratio of their times is printed."""
    assert lookahead.main(["--rate", "5000", "--seconds", "1"]) == 2
    assert "expected more than" in capsys.readouterr().err

    assert lookahead.main(["--rate", "1000", "--seconds", "22"]) == 0
    *_, ratio, solved = capsys.readouterr().out.splitlines()
    assert ratio.startswith("ratio")
    assert int(solved.split()[-2]) > lookahead.WARM  # else there is nothing to be told of
