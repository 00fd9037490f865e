"""`aurora replay` from outside: outputs, figures, report, errors, the same bytes every time."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from aurora_batch import workload
from aurora_batch.adapters.outputs import RequestWriter
from aurora_batch.fleet import default_fleet
from pipelines import playback
from pipelines.cli import main

POLICY_KEYS = [
    "routed", "fill_rate", "value", "bound", "gap", "value_in_window", "hindsight_bound", "regret",
    "cost_usd", "mean_price_usd_per_hour", "mean_latency_ms", "providers", "reasons", "served",
    "routes_per_second",
]  # fmt: skip

WINDOW_KEYS = [
    "window", "requests", "routed", "fill_rate", "value", "value_in_window", "bound", "regret",
]  # fmt: skip
SHARE_KEYS = ["requests", "share", "gpu_hours", "gpu_hours_share"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A scarce log of three windows."""
    return write(tmp_path / "log.parquet", workload.stress(FLEET, 900, seed=4, per_window=300))


FLEET = default_fleet()


def write(path: Path, requests: pa.Table) -> Path:
    """Write a log."""
    with RequestWriter(path) as out:
        out.write(requests)
    return path


def aurora(*args: str | Path) -> int:
    """Run the command in this process."""
    return main(["replay", *map(str, args)])


def test_json_is_the_contract(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object with exactly the documented keys, nothing on stderr."""
    assert aurora(log, "--out", tmp_path / "d.parquet", "--policy", "both", "--json") == 0

    captured = capsys.readouterr()
    said = json.loads(captured.out)
    assert captured.err == ""
    assert list(said) == ["requests", "policies", "seconds"]
    assert list(said["policies"]) == ["greedy", "global"]
    assert [list(policy) for policy in said["policies"].values()] == [POLICY_KEYS] * 2
    assert said["requests"] == 900
    routed = pl.read_parquet(tmp_path / "d.parquet").filter(pl.col("status") == "provisioning")
    assert said["policies"]["global"]["routed"] == routed.height
    assert said["policies"]["global"]["cost_usd"] == pytest.approx(routed["cost_usd"].sum())
    assert said["policies"]["global"]["mean_latency_ms"] == pytest.approx(
        routed["estimated_latency_ms"].mean()
    )


def test_as_live_json_has_three_contestants_and_their_windows(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`batch_only` too; windows where asked for, groups of who is served always."""
    arguments = [log, "--out", tmp_path / "d.parquet", "--policy", "both", "--as-live"]
    slow = ["--set", "router.batch.linger_ms=2000"]
    assert aurora(*arguments, *slow, "--json", "--windows") == 0

    policies = json.loads(capsys.readouterr().out)["policies"]
    assert list(policies) == ["greedy", "batch_only", "global"]
    for policy in policies.values():
        assert list(policy) == [*POLICY_KEYS, "windows"]
        assert [list(window) for window in policy["windows"]] == [WINDOW_KEYS] * 3
        assert [w["requests"] for w in policy["windows"]] == [
            w["requests"] for w in policies["greedy"]["windows"]
        ]
        assert list(policy["served"]) == ["by_size", "by_tenant", "by_gpu_type"]
        assert list(policy["served"]["by_gpu_type"]["a100"]) == SHARE_KEYS
        assert len(policy["served"]["by_tenant"]) == 21


def test_the_screen_has_both_policies(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A person reads the figures side by side."""
    assert aurora(log, "--out", tmp_path / "d.ndjson", "--policy", "both") == 0

    screen = capsys.readouterr().out
    for word in ("greedy", "global", "fill rate", "regret", "late", "rejected", "at akash"):
        assert word in screen
    assert len((tmp_path / "d.ndjson").read_text().splitlines()) == 900


def test_quiet_says_nothing(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only the exit code speaks."""
    assert aurora(log, "--out", tmp_path / "d.csv", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("extension", ["ndjson", "csv", "arrow", "arrows"])
def test_every_layout_gives_the_same_decisions(log: Path, tmp_path: Path, extension: str) -> None:
    """How a log is stored does not change what is decided."""
    other = write(tmp_path / f"log.{extension}", pl.read_parquet(log).to_arrow().cast(SCHEMA))
    assert aurora(log, "--out", tmp_path / "a.parquet", "--quiet") == 0
    assert aurora(other, "--out", tmp_path / "b.parquet", "--quiet") == 0

    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


SCHEMA = workload.stress(FLEET, 0, seed=0).schema


@pytest.mark.parametrize("extension", ["parquet", "ndjson", "csv", "arrow"])
def test_the_same_log_gives_the_same_bytes(tmp_path: Path, extension: str) -> None:
    """Twice, and with one thread and two, as separate processes."""
    log = write(tmp_path / "log.parquet", workload.stress(FLEET, 12_000, seed=4, load=1.5))
    outputs = []
    for at, threads in enumerate(("1", "2", "2")):
        out = tmp_path / f"{at}.{extension}"
        command = [sys.executable, "-m", "pipelines.cli", "replay", log, "--out", out, "--quiet"]
        environment = {**os.environ, "NUMBA_NUM_THREADS": threads}
        subprocess.run(command, check=True, env=environment)
        outputs.append(out.read_bytes())

    assert outputs[0] == outputs[1] == outputs[2]


def test_as_live_and_other_providers(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--providers` is what is for sale; `--as-live` closes more batches."""
    providers = tmp_path / "providers.yaml"
    providers.write_text(
        "providers: {only: {base_price_usd_per_hour: {a100: 1.0}, base_latency_ms: 100,"
        " capacity_gpu_hours_per_step: 100, reputation: 90}}"
    )
    out = tmp_path / "d.parquet"
    assert aurora(log, "--out", out, "--providers", providers, "--as-live", "--json") == 0

    said = json.loads(capsys.readouterr().out)
    assert list(said["policies"]["global"]["providers"]) == ["only"]
    assert pl.read_parquet(out)["batch_id"].n_unique() > 3


def test_the_configured_policy_is_the_default(log: Path, tmp_path: Path) -> None:
    """`--set router.policy=greedy` decides greedily, `--policy` wins over it."""
    said = ["--set", "router.policy=greedy", "--quiet"]
    assert aurora(log, "--out", tmp_path / "a.parquet", *said) == 0
    assert aurora(log, "--out", tmp_path / "b.parquet", *said, "--policy", "global") == 0

    assert pl.read_parquet(tmp_path / "a.parquet")["policy"].unique().to_list() == ["greedy"]
    assert pl.read_parquet(tmp_path / "b.parquet")["policy"].unique().to_list() == ["global"]


@pytest.mark.parametrize("options", [[], ["--as-live"], ["--policy", "greedy"]])
def test_decisions_need_no_bounds(
    log: Path, tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """`--no-bounds`: the same bytes; no regret, and a gap only where it costs nothing."""
    assert aurora(log, "--out", tmp_path / "a.parquet", *options, "--quiet") == 0
    assert aurora(log, "--out", tmp_path / "b.parquet", *options, "--no-bounds", "--json") == 0

    (policy, said), *_ = json.loads(capsys.readouterr().out)["policies"].items()
    assert "regret" not in said
    assert (said["gap"] is None) == (said["bound"] is None) == (policy == "greedy")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


def test_an_empty_log_is_decided(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No requests: an empty output, figures without averages, a report all the same."""
    log = write(tmp_path / "log.arrow", workload.stress(FLEET, 0, seed=0))
    report = tmp_path / "r.html"
    out = tmp_path / "d.arrow"
    options = ["--policy", "both", "--report", report, "--json"]
    assert aurora(log, "--out", out, *options) == 0

    said = json.loads(capsys.readouterr().out)
    assert said["requests"] == 0
    assert said["policies"]["global"]["mean_price_usd_per_hour"] is None
    assert pl.read_ipc(out).height == 0


def test_the_report_stands_alone(log: Path, tmp_path: Path) -> None:
    """One file with figures and charts that loads nothing from elsewhere."""
    report = tmp_path / "r.html"
    out = tmp_path / "d.parquet"
    assert aurora(log, "--out", out, "--policy", "both", "--report", report, "--quiet") == 0

    page = report.read_text()
    assert page.count('src="data:image/png;base64,') == page.count("<img") == 10
    assert "http" not in page
    for word in ("greedy", "global", "fill rate", "Shadow prices", "regret", "by tenant"):
        assert word in page


def test_the_report_needs_matplotlib(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without it, a hint before the work starts."""
    monkeypatch.delitem(sys.modules, "pipelines.charts", raising=False)
    monkeypatch.delattr("pipelines.charts", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.axes", None)
    report = tmp_path / "r.html"
    assert aurora(log, "--out", tmp_path / "d.parquet", "--report", report) == 2

    hint = "aurora: the report needs matplotlib: pip install 'aurora-batch[report]'\n"
    assert capsys.readouterr().err == hint
    assert not (tmp_path / "d.parquet").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["no.parquet", "--out", "d.parquet"], 1, "no.parquet: no such file"),
        (["log.parquet", "--out", "no/d.parquet"], 1, "d.parquet cannot be written: No such file"),
        (["log.parquet", "--out", "d.what"], 1, "the extension says no layout"),
        (["log.parquet", "--out", "d.csv", "--no-bounds", "--windows"], 2, "--no-bounds: "),
        (["log.parquet", "--out", "log.parquet"], 2, "log.parquet is named twice"),
        (["log.parquet", "--out", "d.csv", "--report", "no/r.html"], 1, "r.html cannot be written"),
        (["log.parquet", "--out", "d.csv", "--providers", "no.yaml"], 2, "no.yaml"),
        (["bad.parquet", "--out", "d.csv"], 1, "bad.parquet is named .parquet but"),
        (["narrow.csv", "--out", "d.csv"], 1, "narrow.csv: "),
    ],
)
def test_errors_are_one_line(
    log: Path,
    arguments: list[str],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What cannot be done is said in one line, and nothing is left behind."""
    monkeypatch.chdir(log.parent)
    Path("bad.parquet").write_bytes(b"what")
    Path("narrow.csv").write_text("request_id\nr\n")
    before = sorted(log.parent.iterdir())
    assert aurora(*arguments) == code

    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert sorted(log.parent.iterdir()) == before


def test_an_interrupt_leaves_nothing(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C in the middle: exit code 130, no half-written file."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(playback.Recorder, "finish", interrupted)
    report = tmp_path / "r.html"
    assert aurora(log, "--out", tmp_path / "d.parquet", "--report", report) == 130

    assert list(tmp_path.iterdir()) == [log]
