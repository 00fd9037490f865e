"""A log through both policies: every row decided, `global` better, certificates that hold."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from msgspec.structs import replace

from aurora_batch import router, workload
from aurora_batch.adapters.outputs import RequestWriter
from aurora_batch.allocation import check
from aurora_batch.fleet import default_fleet
from aurora_batch.model import Policy
from aurora_batch.router import Step
from aurora_batch.settings import (
    BatchSettings,
    Lookahead,
    ReplaySettings,
    RouterSettings,
    Settings,
)
from pipelines import playback, recorder
from pipelines.batches import Batches
from pipelines.contestants import contestants
from pipelines.figures import Figures
from pipelines.playback import play
from tests.pipelines.test_traces import imported, trace_file

FLEET = default_fleet()
BOTH = (Policy.GREEDY, Policy.GLOBAL)
CLOSED_AT_40 = Settings(
    router=RouterSettings(batch=BatchSettings(linger_ms=60_000, max_requests=40))
)


def played(
    tmp_path: Path,
    log: pa.Table,
    settings: Settings | None = None,
    *,
    policy: str = "both",
    as_live: bool = False,
) -> tuple[pa.Table, dict[str, Figures]]:
    """Decisions and figures of a log."""
    path = tmp_path / "log.parquet"
    with RequestWriter(path) as out:
        out.write(log)
    tables: list[pa.Table] = []
    playing = contestants(policy, settings or Settings(), as_live=as_live)
    figures = play(path, playing, FLEET, write=tables.append, as_live=as_live)
    return pa.concat_tables(tables), figures


def steps(log: pa.Table, policy: Policy, *, as_live: bool = False) -> list[Step]:
    """What a policy makes of each batch."""
    settings = Settings()
    batches = Batches(settings, as_live=as_live)
    state, made = router.initial_state(FLEET, settings), []
    for batch in [*batches.add(log, np.arange(log.num_rows)), *batches.finish()]:
        made.append(router.step(batch.requests, FLEET, state, settings, policy=policy))
        state = made[-1].state
    return made


@pytest.mark.parametrize("load", [1.0, 4.0, 16.0])
def test_global_is_worth_no_less_in_any_window(tmp_path: Path, load: float) -> None:
    """The war game's tenants: `global` has at least the value of `greedy`, window by window."""
    _, figures = played(tmp_path, workload.generate(Settings(), steps=12, seed=42, load=load))
    greedy, glob = (figures[policy].windows for policy in BOTH)

    assert list(greedy) == list(glob)
    assert all(glob[w].value >= greedy[w].value * (1 - 1e-12) for w in glob)
    assert all(glob[w].bound >= greedy[w].value * (1 - 1e-9) for w in glob)


def test_global_fills_more_where_capacity_is_scarce(tmp_path: Path) -> None:
    """At x1 and x4 the war game's demand fits the fleet; at x16 `global` routes a tenth more."""
    _, fits = played(tmp_path, workload.generate(Settings(), steps=12, seed=42, load=4.0))
    _, scarce = played(tmp_path, workload.generate(Settings(), steps=12, seed=42, load=16.0))

    assert fits[Policy.GREEDY].routed == fits[Policy.GLOBAL].routed == fits[Policy.GLOBAL].requests
    assert scarce[Policy.GLOBAL].routed >= 1.1 * scarce[Policy.GREEDY].routed


@pytest.mark.parametrize("as_live", [False, True])
def test_certificates_hold_and_nothing_is_oversold(as_live: bool) -> None:
    """`check` verifies every batch; no window sells more than it has of any pool or budget."""
    settings = Settings()
    log = workload.generate(settings, steps=4, seed=7, load=16.0)
    made = steps(log, Policy.GLOBAL, as_live=as_live)
    decided = pa.concat_tables([step.decisions for step in made])
    sold: dict[tuple[object, str], float] = {}
    spent: dict[tuple[object, str], float] = {}
    for request, decision in zip(log.to_pylist(), decided.to_pylist(), strict=True):
        if decision["provider"]:
            pool = (decision["window"], decision["provider"])
            purse = (decision["window"], request["tenant_id"])
            sold[pool] = sold.get(pool, 0.0) + request["gpu_hours"]
            spent[purse] = spent.get(purse, 0.0) + decision["cost_usd"]

    for step in made:
        assert step.allocation is not None
        assert check(step.problem(), step.allocation).gap >= -1e-12
    for (_, provider), hours in sold.items():
        assert hours <= FLEET.pool_capacity[FLEET.pool_ids.index(provider)] * (1 + 1e-9)
    for (_, tenant), usd in spent.items():
        assert usd <= (settings.tenants[tenant].budget_usd_per_step or np.inf) * (1 + 1e-9)


@pytest.mark.parametrize("hold", [7, 65_536])
@pytest.mark.parametrize("as_live", [False, True])
def test_every_row_is_decided_in_its_place(
    tmp_path: Path, as_live: bool, hold: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bad rows are `rejected` between their neighbours, who are decided as if they were absent."""
    monkeypatch.setattr(recorder, "HOLD_ROWS", hold)
    log = workload.stress(FLEET, 400, seed=5, per_window=90)
    bad = [0, 1, 17, 90, 91, 250, 399]
    rows = log.to_pylist()
    for i in bad:
        rows[i]["gpu_hours"] = -1.0
    good = log.take(pa.array([i for i in range(400) if i not in bad]))
    with_bad, figures = played(tmp_path, pa.Table.from_pylist(rows, log.schema), as_live=as_live)
    without, _ = played(tmp_path, good, as_live=as_live)

    assert with_bad["request_id"].equals(log["request_id"])
    faulty = with_bad.take(pa.array(bad))
    assert set(faulty["status"].to_pylist()) == {"rejected"}
    assert set(faulty["reason"].to_pylist()) == {"out_of_range"}
    rest = with_bad.take(pa.array([i for i in range(400) if i not in bad]))
    assert rest.equals(without)
    assert figures[Policy.GLOBAL].reasons["out_of_range"] == len(bad)
    assert figures[Policy.GLOBAL].requests == figures[Policy.GREEDY].requests == 400


def test_policies_side_by_side_decide_as_alone(tmp_path: Path) -> None:
    """Each policy has capacity of its own."""
    log = workload.stress(FLEET, 600, seed=6, per_window=300)
    together, figures = played(tmp_path, log)
    alone, _ = played(tmp_path, log, policy=Policy.GLOBAL)
    _, greedy = played(tmp_path, log, policy=Policy.GREEDY)

    assert together.equals(alone)
    assert figures[Policy.GREEDY].reasons == greedy[Policy.GREEDY].reasons
    assert figures[Policy.GREEDY].bound == pytest.approx(greedy[Policy.GREEDY].bound, rel=0.01)


def test_as_live_decides_as_the_stream_would(tmp_path: Path) -> None:
    """Batches close by event time and count, and share the window's capacity."""
    log = workload.stress(FLEET, 500, seed=8, per_window=250, load=2.0)
    settings = Settings(router=RouterSettings(batch=BatchSettings(linger_ms=1_000, max_requests=9)))
    decided, figures = played(tmp_path, log, settings, as_live=True)
    _, at_once = played(tmp_path, log)
    sizes = decided["batch_id"].value_counts().field("counts").to_pylist()

    assert len(sizes) > 80
    assert max(sizes) <= 9
    assert figures[Policy.GLOBAL].value < at_once[Policy.GLOBAL].value


def test_a_large_window_is_solved_in_pieces(tmp_path: Path) -> None:
    """No piece has more than `replay.chunk_requests`, and they share the window's capacity."""
    settings = Settings(replay=ReplaySettings(chunk_requests=100))
    decided, figures = played(tmp_path, workload.stress(FLEET, 450, seed=9), settings)

    assert decided["batch_id"].value_counts().field("counts").to_pylist() == [100] * 4 + [50]
    assert len(figures[Policy.GLOBAL].windows) == 1


def test_as_live_three_contestants_are_judged(tmp_path: Path) -> None:
    """`batch_only` stands between; nobody is worth more than all windows known in advance."""
    log = workload.stress(FLEET, 1_200, seed=10, load=1.5, per_window=400)
    decided, figures = played(tmp_path, log, CLOSED_AT_40, as_live=True)
    alone, glob = played(tmp_path, log, CLOSED_AT_40, policy="global", as_live=True)
    plain = Settings(router=replace(CLOSED_AT_40.router, lookahead=Lookahead(enabled=False)))
    _, without = played(tmp_path, log, plain, policy="global", as_live=True)

    assert list(figures) == ["greedy", "batch_only", "global"]
    assert list(glob) == ["global"]
    assert decided.equals(alone)
    assert figures["batch_only"].by_window() == without["global"].by_window()
    for f in figures.values():
        assert f.hindsight_bound == figures["global"].hindsight_bound
        assert all(-1e-9 <= w["regret"] < 1 for w in f.by_window())
        assert f.value_in_window == pytest.approx(f.value, rel=0.05)
        assert sum(s.requests for _, s in f.served.by_size()) == 1_200


@pytest.mark.parametrize("chunk", [90, 200_000])
def test_a_window_at_once_has_no_more_regret_than_gap(tmp_path: Path, chunk: int) -> None:
    """Where it is one piece; in several, each is decided without those that follow it."""
    settings = Settings(replay=ReplaySettings(chunk_requests=chunk))
    log = workload.stress(FLEET, 600, seed=11, load=1.5, per_window=300)
    _, figures = played(tmp_path, log, settings)
    said = [f.to_dict() for f in figures.values()]

    for one in said:
        assert -1e-9 <= one["regret"] < 1
        assert (one["regret"] <= one["gap"] + 1e-12) == (chunk > 300)
    assert said[1]["regret"] < said[0]["regret"]


def test_judging_is_off_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`routes_per_second` counts the deciding alone: a clock that only ticks there sees it all."""
    for module in (playback, recorder):  # the second makes the decisions, in a thread of its own
        ticks = map(float, range(10**6))
        monkeypatch.setattr(module, "perf_counter", ticks.__next__)
    log = workload.stress(FLEET, 200, seed=12, load=1.5, per_window=100)
    _, figures = played(tmp_path, log, CLOSED_AT_40, as_live=True)

    assert {f.seconds for f in figures.values()} == {12.0}


@pytest.mark.parametrize("name", ["azure-llm", "openb"])
def test_public_traces_are_decided_whole(tmp_path: Path, name: str) -> None:
    """Real arrivals: a decision for every request by both policies, and `global` is worth more."""
    log = imported(name, trace_file(name))
    decided, figures = played(tmp_path, log)

    assert decided["request_id"].equals(log["request_id"])
    assert figures[Policy.GREEDY].requests == log.num_rows
    assert figures[Policy.GREEDY].routed < log.num_rows
    assert figures[Policy.GLOBAL].value > 1.05 * figures[Policy.GREEDY].value


@pytest.mark.parametrize("name", ["azure-llm", "openb"])
def test_public_traces_are_decided_as_live(tmp_path: Path, name: str) -> None:
    """Real arrivals in batches as they would close: a decision for every request."""
    log = imported(name, trace_file(name)).slice(2_000, 800)
    decided, figures = played(tmp_path, log, as_live=True)

    assert decided["request_id"].equals(log["request_id"])
    assert figures[Policy.GREEDY].requests == figures[Policy.GLOBAL].requests == 800
