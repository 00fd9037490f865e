"""Hindsight: no window was worth more than its bound, however it was decided and cut."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import settings as effort
from hypothesis import strategies as st
from msgspec.structs import replace

from aurora_batch import hindsight, ledger, router, workload
from aurora_batch.allocation import solve
from aurora_batch.fleet import Fleet, default_fleet, fleet_from_settings
from aurora_batch.hindsight import Hindsight, Judged, Piece, Proven, regret
from aurora_batch.model import Policy
from aurora_batch.settings import (
    Objective,
    ProviderSettings,
    ReplaySettings,
    RouterSettings,
    Settings,
)

FLEET, SETTINGS = default_fleet(), Settings()
REGIONAL = fleet_from_settings(
    {
        "one": ProviderSettings(
            base_price_usd_per_hour={"a100": {"eu": 1.0, "us": 1.0, "global": 2.0}, "t4": 0.5},
            base_latency_ms=100,
            capacity_gpu_hours_per_step={"a100": 20.0, "t4": 5.0},
            reputation=80,
            regions=["global"],
        ),
        "two": ProviderSettings(
            base_price_usd_per_hour={"a100": 1.5},
            base_latency_ms=200,
            capacity_gpu_hours_per_step=10.0,
            reputation=60,
            regions=["eu", "us"],
        ),
    }
)


def tenants(n: int, seed: int) -> pa.Table:
    """One window of the configured tenants, who have budgets."""
    return workload.generate(SETTINGS, steps=1, seed=seed, load=20.0).slice(0, n)


def judged(
    log: pa.Table,
    settings: Settings,
    *,
    batch: int,
    fleet: Fleet = FLEET,
    policies: tuple[Policy, ...] = (Policy.GREEDY, Policy.GLOBAL),
) -> Iterator[Judged]:
    """The windows of a log that is decided `batch` requests at a time."""
    judge = Hindsight(fleet, settings)
    states = [router.initial_state(fleet, settings)] * len(policies)
    for low in range(0, log.num_rows, batch):
        requests = log.slice(low, batch)
        steps = [
            router.step(requests, fleet, state, settings, policy=policy)
            for state, policy in zip(states, policies, strict=True)
        ]
        states = [step.state for step in steps]
        ended = judge.add(steps[0].batch.window_us, requests, [step.offer for step in steps])
        if ended is not None:
            yield ended
    last = judge.finish()
    if last is not None:
        yield last


@effort(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**20),
    batch=st.integers(1, 60),
    scoring=st.sampled_from(["documented", "normalized"]),
    objective=st.builds(
        Objective,
        scale=st.sampled_from(["per_request", "raw"]),
        weigh_by=st.sampled_from(["request", "gpu_hours"]),
        serve_reward=st.sampled_from([0.0, 1.0]),
    ),
    chunk=st.sampled_from([17, 200_000]),
)
def test_regret_is_never_negative(
    seed: int, batch: int, scoring: str, objective: Objective, chunk: int
) -> None:
    """Whatever the batches, the scoring, the objective and the pieces."""
    settings = Settings(
        router=RouterSettings(scoring=scoring, objective=objective),
        replay=ReplaySettings(chunk_requests=chunk),
    )
    log = workload.stress(FLEET, 120, seed=seed, load=1.5, per_window=80)
    for window in judged(log, settings, batch=batch):
        assert window.bound > 0
        assert all(regret(value, window.bound) >= -1e-9 for value in window.values)


@pytest.mark.parametrize("chunk", [7, 50, 200_000])
def test_budgets_bind_in_hindsight_too(chunk: int) -> None:
    """With tenants' budgets, in one piece and in many, some of which nobody with a budget is in."""
    nobody = tenants(60, 1).drop_columns("tenant_id")
    nobody = nobody.add_column(
        1, tenants(0, 1).schema.field("tenant_id"), pa.nulls(60, pa.string())
    )
    log = pa.concat_tables([nobody.slice(0, 30), tenants(300, 2), nobody.slice(30)])
    settings = replace(SETTINGS, replay=ReplaySettings(chunk_requests=chunk))
    window = next(judged(log, settings, batch=log.num_rows))

    assert window.requests == log.num_rows
    assert all(0 <= regret(value, window.bound) + 1e-9 <= 1 for value in window.values)


def test_the_bound_of_pieces_is_close_to_that_of_the_whole() -> None:
    """Prices from a seventh of a window prove little less than those from all of it."""
    log = workload.stress(FLEET, 2_100, seed=3, load=1.5, per_window=2_100)
    whole = next(judged(log, SETTINGS, batch=100))
    chunk = ReplaySettings(chunk_requests=300)
    pieces = next(judged(log, replace(SETTINGS, replay=chunk), batch=100))

    assert pieces.requests == whole.requests == 2_100
    assert pieces.values == pytest.approx(whole.values, rel=1e-12)
    assert pieces.bound <= 1.02 * whole.bound


def test_a_window_in_one_batch_has_the_value_of_its_step() -> None:
    """Then the batch's start is the window's; its bound is at most that of the step."""
    log = workload.stress(FLEET, 500, seed=5, load=1.5, per_window=500)
    step = router.step(log, FLEET, router.initial_state(FLEET, SETTINGS), SETTINGS)
    window = next(judged(log, SETTINGS, batch=500, policies=(Policy.GLOBAL,)))

    assert window.window_us == step.batch.window_us
    assert window.values == (pytest.approx(step.batch.value, rel=1e-12),)
    assert step.batch.value * (1 - 1e-12) <= window.bound <= step.batch.bound


def test_a_loose_bound_is_looked_for_again() -> None:
    """Where the work of the live path leaves a gap, as among requests that are all alike."""
    log = workload.stress(FLEET, 400, seed=2, load=1.3, per_window=400)
    alike = log.set_column(
        log.schema.get_field_index("gpu_hours"), log.schema.field("gpu_hours"),
        pa.repeat(float(FLEET.pool_capacity.sum()) * 1.3 / 400, 400),
    )  # fmt: skip
    hurried = replace(SETTINGS.router.solver, deadline_ms=0.01)
    settings = replace(SETTINGS, router=replace(SETTINGS.router, solver=hurried))
    window = next(judged(alike, settings, batch=400, policies=(Policy.GLOBAL,)))
    step = router.step(alike, FLEET, router.initial_state(FLEET, settings), settings)
    full = router.step(alike, FLEET, router.initial_state(FLEET, SETTINGS), SETTINGS)

    assert step.batch.gap > hindsight.TIGHT
    assert window.bound < step.batch.bound
    assert window.bound == pytest.approx(full.batch.bound, rel=0.001)


def test_no_bound_is_below_the_optimum() -> None:
    """Of a small window, solved exactly, with every pair of the window's start."""
    log = workload.stress(FLEET, 40, seed=6, load=2.0, per_window=40)
    piece = Piece.of(log, FLEET, SETTINGS)
    problem = piece.task.problem
    best = solve(problem, method="exact")

    assert best.value * (1 - 1e-12) <= piece.bound()
    assert piece.value(best.assignment.astype(np.int32)) == pytest.approx(best.value, rel=1e-12)


def test_late_requests_count_where_they_are_decided() -> None:
    """A request of an older window is judged with its neighbours."""
    log = workload.stress(FLEET, 40, seed=7, per_window=20)
    order = [*range(15), *range(20, 40), *range(15, 20)]
    windows = list(judged(log.take(pa.array(order)), SETTINGS, batch=5))
    second = ledger.window_of(
        np.array([log["requested_at"][39].value]), round(SETTINGS.router.window_s * 1e6)
    )

    assert [window.requests for window in windows] == [15, 25]
    assert windows[1].window_us == second[0]


def test_what_is_proven_is_not_solved_again() -> None:
    """A window that one batch is the whole of takes the bound it is given; one of two does not."""
    log = workload.stress(FLEET, 20, seed=8, per_window=20)
    step = router.step(log, FLEET, router.initial_state(FLEET, SETTINGS), SETTINGS)
    proven = Proven(7.0, (5.0,))
    judge = Hindsight(FLEET, SETTINGS)
    assert judge.add(0, log, [step.offer], proven) is None
    assert judge.add(60, log, [step.offer], proven) == Judged(0, 20, 7.0, (5.0,))
    judge.add(60, log, [step.offer])
    last = judge.finish()

    assert last is not None
    assert (last.window_us, last.requests) == (60, 40)
    assert last.bound != 7.0
    assert judge.finish() is None


@pytest.mark.parametrize("fleet", [FLEET, REGIONAL])
def test_a_decision_tells_its_offer(fleet: Fleet) -> None:
    """Also where a provider asks for different prices, or for one price, in several regions."""
    log = workload.stress(fleet, 300, seed=9, load=1.5, per_window=300)
    step = router.step(log, fleet, router.initial_state(fleet, SETTINGS), SETTINGS)
    assert step.allocation is not None
    offers = hindsight.chosen(step.decisions, fleet)

    assert offers.dtype == np.int32
    assert offers.tolist() == step.allocation.assignment.tolist()
    assert len(set(offers.tolist())) >= fleet.offers


def test_nothing_is_worth_nothing() -> None:
    """No requests, or no offers: a bound of 0 and no regret."""
    empty = fleet_from_settings({})
    log = workload.stress(FLEET, 5, seed=10)

    assert list(judged(log.slice(0, 0), SETTINGS, batch=1)) == []
    window = next(judged(log, SETTINGS, batch=2, fleet=empty))
    assert (window.bound, window.values) == (0.0, (0.0, 0.0))
    assert regret(0.0, 0.0) == 0.0


def test_work_grows_with_a_batch_beyond_any_live_one() -> None:
    """In proportion, and no less than for a live one."""
    most = SETTINGS.router.batch.max_requests
    deadline = SETTINGS.router.solver.deadline_ms

    assert hindsight.with_work(SETTINGS, most) is SETTINGS
    assert hindsight.with_work(SETTINGS, 3 * most).router.solver.deadline_ms == 3 * deadline


def test_without_lookahead_nothing_else_changes() -> None:
    """Only the switch."""
    plain = hindsight.without_lookahead(SETTINGS)

    assert not plain.router.lookahead.enabled
    assert replace(plain, router=SETTINGS.router) == SETTINGS
