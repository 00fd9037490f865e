"""`aurora import`: what comes from the trace, what from the seed, and that it is scarce."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pytest

from aurora_batch import schema
from aurora_batch.errors import LogError
from aurora_batch.fleet import default_fleet
from pipelines.cli import main
from pipelines.traces import TRACES, azure_llm, openb, request_log

DATA = Path(__file__).parents[2].parent / "shared" / "data"
FILES = {"azure-llm": DATA / "azure_llm" / "code.csv", "openb": DATA / "openb" / "pods.csv"}
FLEET = default_fleet()

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:05,100,100
2023-11-16T18:17:04.5+00:00,1000,0
"""
OPENB = """name,num_gpu,gpu_milli,gpu_spec,qos,creation_time,deletion_time,scheduled_time
a,2,1000,V100M16|V100M32,LS,100,3700,100
b,1,500,,BE,200,7400,
c,0,0,,BE,300,400,300
d,1,1000,G3,Odd,10000000,10000000,10000000
"""


def trace_file(name: str) -> Path:
    """A public trace; without it the test is skipped, but never in CI."""
    path = FILES[name]
    if not path.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{path} is missing")
        pytest.skip(f"NO PUBLIC TRACE: {path} is missing")
    return path


def imported(name: str, path: Path, *, seed: int = 42, load: float = 1.2) -> pa.Table:
    """A trace as a request log."""
    trace = TRACES[name]
    rows = trace.read(path)
    return request_log(rows, FLEET, seed=seed, load=load, speedup=trace.speedup, window_s=60.0)


def test_azure_rows(tmp_path: Path) -> None:
    """Time, GPU-hours by tokens and GPU types by context come from the trace."""
    path = tmp_path / "trace.csv"
    path.write_text(AZURE)
    rows = azure_llm(path)

    assert rows["gpu"].to_list() == ["a100|h100", "3080|3090|4090", "4090|a100"]
    assert rows["hours"].to_list() == pytest.approx(
        [(4808 / 5000 + 10 / 50) / 3600, (100 / 5000 + 2) / 3600, 0.2 / 3600]
    )
    assert np.diff(rows["at"].to_numpy()).tolist() == [1_020_040, -500_000]


def test_openb_rows(tmp_path: Path) -> None:
    """GPUs x share x duration, models, priority and workload come from the trace."""
    path = tmp_path / "trace.csv"
    path.write_text(OPENB)
    rows = openb(path)

    assert rows["gpu"].to_list() == ["3090|4090", None, "h100"]
    assert rows["hours"].to_list() == pytest.approx([2.0, 1.0, 0.001])
    assert rows["workload"].to_list() == ["llm_training", "general", "general"]
    assert rows["priority"].to_list() == [2.0, 0.5, 1.0]


@pytest.mark.parametrize("content", ["a,b\n1,2\n", "", "\0\xff"])
@pytest.mark.parametrize("name", list(TRACES))
def test_another_file_is_refused(tmp_path: Path, name: str, content: str) -> None:
    """A file that is no such trace is one clear line."""
    path = tmp_path / "trace.csv"
    path.write_text(content)

    with pytest.raises(LogError, match=r"trace\.csv"):
        TRACES[name].read(path)
    with pytest.raises(LogError, match="no such file"):
        TRACES[name].read(tmp_path / "missing.csv")


def test_an_empty_trace_is_an_empty_log(tmp_path: Path) -> None:
    """Only a header: no requests, no error."""
    path = tmp_path / "trace.csv"
    path.write_text(OPENB.partition("\n")[0] + "\n")

    assert imported("openb", path).num_rows == 0


def test_silences_are_cut_to_a_window(tmp_path: Path) -> None:
    """Months without requests do not make months of empty windows."""
    path = tmp_path / "trace.csv"
    path.write_text(OPENB)
    at = imported("openb", path)["requested_at"].cast(pa.int64()).to_numpy()

    assert np.diff(at).tolist() == [50_000, 60_000_000]


@pytest.mark.parametrize("name", list(TRACES))
def test_public_traces_become_scarce_canonical_logs(name: str) -> None:
    """Valid rows by event time; the average request's window asks for `load` x capacity."""
    log = imported(name, trace_file(name))
    decoded = schema.decode_table(log)
    at = log["requested_at"].cast(pa.int64()).to_numpy()
    _, window = np.unique(at // 60_000_000, return_inverse=True)
    asked = np.bincount(window, log["gpu_hours"].to_numpy())[window]

    assert decoded.rejections == []
    assert decoded.requests.equals(log)
    assert log.num_rows == {"azure-llm": 8_819, "openb": 7_064}[name]
    assert (np.diff(at) >= 0).all()
    assert asked.mean() / FLEET.pool_capacity.sum() == pytest.approx(1.2)
    assert log["gpu_hours"].to_numpy().max() < FLEET.pool_capacity.min()


@pytest.mark.parametrize("name", list(TRACES))
def test_the_seed_decides_what_the_trace_does_not(name: str) -> None:
    """Another seed changes regions and limits, not times, sizes and GPU types."""
    path = trace_file(name)
    one, again, other = (imported(name, path, seed=s) for s in (1, 1, 2))

    assert one.equals(again)
    for column in ("requested_at", "gpu_hours", "gpu_type", "priority"):
        assert one[column].equals(other[column])
    assert not one["region"].equals(other["region"])


@pytest.mark.parametrize("name", list(TRACES))
def test_imported_requests_have_a_choice(name: str) -> None:
    """Each can be served by somebody, most by several providers."""
    log = pl.from_arrow(imported(name, trace_file(name)))
    assert isinstance(log, pl.DataFrame)
    choices = []
    for row in log.sample(500, seed=0).iter_rows(named=True):
        feasible = FLEET.gpu_match(row["gpu_type"]) & FLEET.region_match(row["region"])
        feasible &= FLEET.offer_price <= (row["max_price"] or np.inf)
        feasible &= FLEET.offer_latency_ms <= (row["max_latency_ms"] or np.inf)
        feasible &= FLEET.offer_reputation >= (row["min_reputation"] or 0)
        choices.append(np.unique(FLEET.offer_provider[feasible]).size)

    assert min(choices) >= 1
    assert np.mean(np.array(choices) > 1) > 0.5


def test_import_writes_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`aurora import` from outside: a log that `aurora replay` can read, and a line about it."""
    (tmp_path / "trace.csv").write_text(OPENB)
    trace, log = str(tmp_path / "trace.csv"), str(tmp_path / "log.ndjson")
    assert main(["import", "openb", trace, "--out", log]) == 0
    assert capsys.readouterr().out == f"3 requests from 3 rows of openb in {log}\n"
    assert main(["replay", log, "--out", str(tmp_path / "d.csv"), "--quiet"]) == 0


@pytest.mark.parametrize("option", ["--load=0", "--load=nan", "--speedup=-1", "--load=inf"])
def test_import_refuses_senseless_numbers(
    tmp_path: Path, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, exit code 2, and no log."""
    (tmp_path / "trace.csv").write_text(OPENB)
    trace, log = str(tmp_path / "trace.csv"), tmp_path / "log.ndjson"
    assert main(["import", "openb", trace, "--out", str(log), option]) == 2
    assert "expected a number above 0" in capsys.readouterr().err
    assert not log.exists()
