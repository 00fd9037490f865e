"""The commands of the benchmarks, at their smallest."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cost, gap_over_time, gap_sets, table
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
