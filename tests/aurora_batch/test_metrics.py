"""The table of metrics, and batches counted into it."""

from dataclasses import replace

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from aurora_batch import engine, router
from aurora_batch.allocation import Prices
from aurora_batch.demand import Demand
from aurora_batch.fleet import default_fleet, fleet_from_settings
from aurora_batch.metrics import TABLE, Committed, Distribution, Metric, Metrics
from aurora_batch.outlook import Outlook
from aurora_batch.progress import Account
from aurora_batch.schema import Record, Records
from aurora_batch.settings import Settings
from tests.streaming import request

DOCUMENTED = {
    "aurora_route_requests_total": ("provider", "status"),
    "aurora_route_duration_seconds": ("provider", "mode"),
    "aurora_route_failures_total": ("provider", "reason"),
    "aurora_active_deployments": ("provider",),
    "aurora_provider_health": ("provider",),
    "aurora_provider_latency_ms": ("provider",),
    "aurora_provider_cost_usd": ("provider", "gpu_type"),
    "aurora_provider_capacity": ("provider",),
    "aurora_ai_decisions_total": ("mode",),
    "aurora_ai_reward": ("episode",),
    "aurora_ai_fill_rate_improvement": (),
}


def committed(count: int) -> Committed:
    """A micro-batch of the default fleet."""
    settings, fleet = Settings(), default_fleet()
    batch = [Record(request(i).value, offset=i) for i in range(count)] + [Record(b"?")]
    records = Records.of(batch)
    state = router.initial_state(fleet, settings)
    done = engine.decide(records, engine.decode(records, settings), fleet, state, settings)
    durations = np.linspace(0.001, 0.2, count)
    return Committed(
        done.decisions, durations, done.decoded.rejections, done.batches, 0, 0.01, 0.02, 0.03, 0.02,
        0.04, 1.0,
    )  # fmt: skip


def test_documented_names_and_labels_are_in_the_table() -> None:
    """Dashboards and alerts are written against these."""
    table = {f"aurora_{m.name}": m.labels for m in TABLE}
    assert DOCUMENTED.items() <= table.items()
    assert len(table) == len(TABLE)
    (duration,) = (m for m in TABLE if m.name == "route_duration_seconds")
    assert duration.buckets == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)


def test_a_batch_is_counted_by_provider_status_and_reason() -> None:
    """Counts, durations and dead letters of a batch, on a page that Prometheus reads."""
    metrics = Metrics(tenants=[t for t, s in Settings().tenants.items()])
    metrics.fleet(default_fleet())
    done = committed(300)

    metrics.committed(done, Account())

    page = metrics.expose().decode()
    samples = [s for f in text_string_to_metric_families(page) for s in f.samples]
    total = sum(s.value for s in samples if s.name == "aurora_route_requests_total")
    timed = sum(s.value for s in samples if s.name == "aurora_route_duration_seconds_count")
    seconds = sum(s.value for s in samples if s.name == "aurora_route_duration_seconds_sum")
    assert (total, timed) == (300, 300)
    assert seconds == pytest.approx(done.durations.sum())
    assert metrics.value("aurora_dead_letters_total", reason="malformed") == 1
    assert metrics.value("aurora_batch_requests_sum") == 300
    left = metrics.value("aurora_pool_left_gpu_hours", pool="akash")
    assert left == done.batches[-1].pool_left[0]


def test_buckets_hold_what_is_at_most_their_bound() -> None:
    """A value on a bound belongs below it; the last bucket holds all."""
    distribution = Distribution(Metric("histogram", "x", "", ("a",), (1.0, 2.0)))
    distribution.observe(np.array([0.5, 1.0, 1.5, 2.0, 9.0]), "b")
    distribution.observe(np.array([2.0]), "b")

    (family,) = distribution.collect()

    counts = {s.labels["le"]: s.value for s in family.samples if s.name.endswith("_bucket")}
    assert counts == {"1.0": 2, "2.0": 5, "+Inf": 6}


def test_providers_that_are_gone_leave_the_page() -> None:
    """After a reload only the fleet in force has gauges."""
    settings = Settings()
    metrics = Metrics()
    metrics.fleet(default_fleet())
    metrics.fleet(fleet_from_settings({"vast": settings.providers["vast"]}))

    page = metrics.expose().decode()
    assert 'aurora_provider_cost_usd{gpu_type="a100",provider="vast"} 1.4' in page
    assert 'provider="akash"' not in page


def test_what_is_not_known_yet_is_no_number() -> None:
    """A gauge without an observation says NaN, not 0."""
    assert np.isnan(Metrics().value("aurora_batch_gap"))


def test_reserve_prices_are_on_the_page_and_zero_where_nothing_is_kept() -> None:
    """Of each pool and budget, as in the record of the last batch."""
    metrics, done = Metrics(tenants=list(Settings().tenants)), committed(9)
    metrics.fleet(default_fleet())
    (batch,) = done.batches
    pools = np.arange(1.0, 1.0 + batch.pool_left.size)
    reserve = Prices(pools, np.full(batch.budget_left.size, 0.5))

    for kept, pool, budget in ((reserve, 1.0, 0.5), (None, 0.0, 0.0)):
        metrics.committed(replace(done, batches=[replace(batch, reserve=kept)]), Account())
        page = metrics.expose().decode()
        assert f'aurora_reserve_price{{pool="{default_fleet().pool_ids[0]}"}} {pool}' in page
        assert page.count("aurora_reserve_price_per_usd{") == batch.budget_left.size
        assert page.count(f"}} {budget}\n") >= batch.budget_left.size


def test_a_forecast_is_never_nan() -> None:
    """Before anything is known the window expects 0; then what its outlook does."""
    metrics = Metrics()
    metrics.looked_ahead(Outlook())
    names = [f"aurora_expected_gpu_hours{bound}" for bound in ("", "_low", "_high")]
    assert [metrics.value(name) for name in names] == [0, 0, 0]

    demand = Demand(0).add(np.array([10, 29]), np.array([4.0, 2.0]), 60)
    known = Outlook(demand=demand.enter(60, 60), now_us=75, length_us=60)
    metrics.looked_ahead(known)

    assert [metrics.value(name) for name in names] == list(known.forecast or ())
    assert metrics.value("aurora_asked_gpu_hours") == 0


def test_a_window_keeps_its_figures_until_the_next() -> None:
    """Zeros, with no window judged, before the first."""
    metrics = Metrics()
    names = [f"aurora_window_{name}" for name in ("expected_gpu_hours", "asked_gpu_hours")]
    names += ["aurora_window_regret", "aurora_windows_judged_total"]
    assert [metrics.value(name) for name in names] == [0, 0, 0, 0]

    metrics.foretold(5.0, 4.0)
    metrics.judged(0.125)

    assert [metrics.value(name) for name in names] == [5.0, 4.0, 0.125, 1]


def test_nothing_is_in_flight_at_the_start() -> None:
    """Known before the first batch: who reconciles counters need not wait for it."""
    page = Metrics().expose().decode()

    assert "aurora_requests_in_flight 0.0" in page
    assert "aurora_bytes_in_flight 0.0" in page
