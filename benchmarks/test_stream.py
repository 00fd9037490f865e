"""Requests through the embedded broker to decisions, in one process with producer and reader."""

import asyncio
from collections.abc import Callable

import pytest
from rich.console import Console

from aurora_batch import workload
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.model import Policy
from aurora_batch.settings import RouterSettings, Settings
from pipelines.demo import Live, through_broker

DOCUMENTED_ROUTES_PER_SECOND = 10_000  # the figure that the product's documents promise
REQUESTS = 30_000


@pytest.mark.parametrize("policy", list(Policy))
def test_stream(benchmark: Callable[..., object], policy: Policy) -> None:
    """First request sent to last decision read; latency from arrival to commit."""
    settings = Settings(router=RouterSettings(policy=policy))
    fleet = fleet_from_settings(settings.providers)
    requests = workload.stress(fleet, REQUESTS, seed=1)
    runs: list[Live] = []

    def run() -> None:
        runs.append(asyncio.run(through_broker(settings, requests, Console(quiet=True))))

    benchmark.pedantic(run, rounds=3, warmup_rounds=1)  # type: ignore[attr-defined]
    live = min(runs, key=lambda run: run.seconds)
    info = benchmark.extra_info  # type: ignore[attr-defined]
    info["routes_per_second"] = round(REQUESTS / live.seconds)
    info["times_documented"] = round(REQUESTS / live.seconds / DOCUMENTED_ROUTES_PER_SECOND, 1)
    info["p50_ms"], info["p99_ms"] = round(live.latency_ms(50)), round(live.latency_ms(99))
    info["fill"] = sum(b.served for c in live.committed for b in c.batches) / REQUESTS
