"""`aurora explain` from outside: the batch that decisions name, as object and as screen."""

import json
from pathlib import Path

import polars as pl
import pytest

from aurora_batch import workload
from aurora_batch.adapters.outputs import RequestWriter
from aurora_batch.fleet import default_fleet
from aurora_batch.settings import Settings
from pipelines.cli import main

KEYS = [
    "batch_id", "window", "policy", "requests", "served", "late", "value", "bound", "gap",
    "status", "work", "certificate", "pools", "budgets", "ties", "refusals",
]  # fmt: skip


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A scarce log of two windows, a part of it by tenants with budgets."""
    tenants = tuple(Settings().tenants)
    requests = workload.stress(default_fleet(), 400, seed=4, per_window=200, known_tenants=tenants)
    with RequestWriter(tmp_path / "log.parquet") as out:
        out.write(requests)
    return tmp_path / "log.parquet"


@pytest.fixture
def windows(tmp_path: Path) -> Path:
    """A scarce log of four windows."""
    requests = workload.stress(default_fleet(), 800, seed=5, per_window=200)
    with RequestWriter(tmp_path / "windows.parquet") as out:
        out.write(requests)
    return tmp_path / "windows.parquet"


def aurora(*args: str | Path) -> int:
    """Run a command in this process."""
    return main([*map(str, args)])


@pytest.mark.parametrize("policy", ["greedy", "global"])
@pytest.mark.parametrize("mode", [[], ["--as-live", "--set", "router.batch.max_requests=60"]])
def test_every_batch_of_a_replay_is_explained(
    log: Path, capsys: pytest.CaptureFixture[str], policy: str, mode: list[str]
) -> None:
    """Id, window, counts and refusals are those of the batch's decisions, in either cut."""
    options = [*mode, "--policy", policy, "--json"]
    assert aurora("replay", log, "--out", log.parent / "d.parquet", *options) == 0
    capsys.readouterr()
    decisions = pl.read_parquet(log.parent / "d.parquet")

    for name in decisions["batch_id"].unique(maintain_order=True).to_list()[:5]:
        assert aurora("explain", name, log, *options) == 0
        said = json.loads(capsys.readouterr().out)
        batch = decisions.filter(pl.col("batch_id") == name)
        refused = batch.filter(pl.col("reason") != "ok")
        assert list(said) == KEYS
        assert (said["batch_id"], said["policy"]) == (name, policy)
        assert said["requests"] == batch.height
        assert said["served"] == batch.height - refused.height
        reasons = dict(refused.group_by("reason").len().rows())
        assert {r["reason"]: r["requests"] for r in said["refusals"]} == reasons
        spent = sum(pool["before"] - pool["after"] for pool in said["pools"])
        hours = pl.read_parquet(log).join(batch.drop_nulls("provider"), on="request_id")
        assert spent == pytest.approx(hours["gpu_hours"].sum())
        assert said["certificate"]["holds"]
        assert said["value"] <= said["bound"] * (1 + 1e-9)


def test_the_screen_answers_why(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Figures, the check, pools, budgets, close choices, refusals with remedies."""
    assert aurora("explain", "20260101T000100Z-1", log, "--top", 2) == 0

    captured = capsys.readouterr()
    assert captured.err == ""
    for words in (
        "batch 20260101T000100Z-1", "2026-01-01T00:01:00Z", "bound", "gap", "status",
        "certificate checked again without the solver", "one more GPU-h", "measured", "akash",
        "one more USD", "tenant-dao", "closest choices", "next best", "refused", "no_capacity",
    ):  # fmt: skip
        assert words in captured.out


def test_the_solve_beside_greedy_is_said_to_be_one(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Greedy's decisions know no prices, and the screen says whose they are."""
    assert aurora("explain", "20260101T000000Z-1", log, "--policy", "greedy") == 0

    screen = capsys.readouterr().out
    assert "of a solve beside the sequential decisions" in screen
    assert "closest choices" not in screen


def test_a_batch_is_explained_the_same_every_time(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Same log, same bytes."""
    said = []
    for _ in range(2):
        aurora("explain", "20260101T000000Z-1", log, "--json")
        said.append(capsys.readouterr().out)

    assert said[0] == said[1]


def test_as_live_a_batch_is_explained_at_reserve_prices(
    windows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The column, and a line that says what the certificate's values are net of."""
    options = ["--as-live", "--set", "router.batch.max_requests=60"]
    assert aurora("explain", "20260101T000200Z-1", windows, *options, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert aurora("explain", "20260101T000200Z-1", windows, *options) == 0
    screen = capsys.readouterr().out

    assert said["certificate"]["net_of_reserve_prices"]
    assert any(pool["reserve_price"] > 0 for pool in said["pools"])
    assert said["certificate"]["value"] < said["value"]
    assert "reserve price" in screen
    assert "its values are net of the reserve prices, " in screen


def test_a_window_solved_at_once_has_no_reserve_prices(
    windows: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Value, bound and certificate are those of its own optimum, as `aurora replay` has them."""
    assert aurora("explain", "20260101T000200Z-1", windows, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    out = windows.parent / "d.parquet"
    assert aurora("replay", windows, "--out", out, "--policy", "global", "--json") == 0
    served = pl.read_parquet(out).filter(
        (pl.col("batch_id") == said["batch_id"]) & (pl.col("reason") == "ok")
    )

    assert not said["certificate"]["net_of_reserve_prices"]
    assert {r["reserve_price"] for r in [*said["pools"], *said["budgets"]]} == {0.0}
    assert said["served"] == served.height
    assert said["certificate"]["value"] == pytest.approx(said["value"])
    assert said["certificate"]["bound"] == pytest.approx(said["bound"])


@pytest.mark.parametrize(
    ("batch", "log_text", "options", "said"),
    [
        (
            "20260101T000000Z-2", None, [],
            "no batch 20260101T000000Z-2; its 2 batches are 20260101T000000Z-1 to "
            "20260101T000100Z-1 (with --as-live they differ)",
        ),
        ("x", None, ["--as-live", "--set", "router.batch.max_requests=90"], "(without --as-live"),
        ("x", '{"gpu_hours": -1}\n', [], "no batch x; it holds no requests"),
        ("x", None, ["--top", "-1"], "--top -1: expected a number >= 0"),
    ],
)  # fmt: skip
def test_an_unknown_batch_is_one_line_that_says_which_there_are(
    log: Path,
    capsys: pytest.CaptureFixture[str],
    batch: str,
    log_text: str | None,
    options: list[str],
    said: str,
) -> None:
    """First, last and how many; exit 2."""
    if log_text is not None:
        log = log.with_suffix(".ndjson")
        log.write_text(log_text)

    assert aurora("explain", batch, log, *options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
