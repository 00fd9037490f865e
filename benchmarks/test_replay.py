"""Replay, file to file: a stress log through each policy, and reading and writing each layout."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from aurora_batch import router, workload
from aurora_batch.adapters.files import read_requests
from aurora_batch.adapters.outputs import DecisionWriter, RequestWriter
from aurora_batch.fleet import default_fleet
from aurora_batch.model import Policy
from aurora_batch.settings import Settings
from aurora_batch.warm_up import warm_up
from benchmarks.ratios import seconds
from pipelines.contestants import contestants
from pipelines.figures import Figures
from pipelines.playback import play

FLEET = default_fleet()
SETTINGS = Settings()
REQUESTS = 100_000
DOCUMENTED_ROUTES_PER_SECOND = 10_000  # the figure that the product's documents promise


@pytest.fixture(scope="module")
def stress() -> pa.Table:
    """20 windows of 5,000 requests on the built-in fleet, demand 1.2 x capacity."""
    return workload.stress(FLEET, REQUESTS, seed=42, load=1.2)


def written(folder: Path, log: pa.Table, extension: str) -> Path:
    """Write a log."""
    path = folder / f"log.{extension}"
    with RequestWriter(path) as out:
        out.write(log)
    return path


@pytest.mark.parametrize("policy", list(Policy))
def test_replay(
    benchmark: Callable[..., dict[str, Figures]],
    tmp_path: Path,
    stress: pa.Table,
    policy: Policy,
) -> None:
    """100,000 requests from Parquet to Parquet, each window at once, with its bound."""
    log = written(tmp_path, stress, "parquet")
    warm_up(FLEET, SETTINGS)

    def run() -> dict[str, Figures]:
        with DecisionWriter(tmp_path / "decisions.parquet") as out:
            return play(log, contestants(policy, SETTINGS, as_live=False), FLEET, write=out.write)

    figures = benchmark(run)[policy]
    own = seconds(run, repeat=3)
    info = benchmark.extra_info  # type: ignore[attr-defined]
    info["routes_per_second"] = round(REQUESTS / own)
    info["times_documented"] = round(REQUESTS / own / DOCUMENTED_ROUTES_PER_SECOND, 1)
    info["deciding_per_second"] = round(REQUESTS / figures.seconds)
    info["fill"] = figures.routed / figures.requests
    info["value"] = round(figures.value, 1)
    info["gap_percent"] = figures.to_dict()["gap"] * 100


@pytest.mark.parametrize("extension", ["parquet", "arrow", "csv", "ndjson"])
def test_read(
    benchmark: Callable[..., int], tmp_path: Path, stress: pa.Table, extension: str
) -> None:
    """100,000 requests from a file to checked columns."""
    log = written(tmp_path, stress, extension)

    def run() -> int:
        return sum(chunk.decoded.requests.num_rows for chunk in read_requests(log))

    assert benchmark(run) == REQUESTS
    info = benchmark.extra_info  # type: ignore[attr-defined]
    info["rows_per_second"] = round(REQUESTS / seconds(run, repeat=3))


@pytest.mark.parametrize("extension", ["parquet", "arrow", "csv", "ndjson"])
def test_write(
    benchmark: Callable[..., None], tmp_path: Path, stress: pa.Table, extension: str
) -> None:
    """100,000 decisions from columns to a file."""
    state = router.initial_state(FLEET, SETTINGS)
    steps = router.decide(stress, FLEET, state, SETTINGS, policy=Policy.GREEDY)
    decided = pa.concat_tables([step.decisions for step in steps])

    def run() -> None:
        with DecisionWriter(tmp_path / f"decisions.{extension}") as out:
            out.write(decided)

    benchmark(run)
    info = benchmark.extra_info  # type: ignore[attr-defined]
    info["rows_per_second"] = round(REQUESTS / seconds(run, repeat=3))
