"""The router step: Arrow requests in, Arrow decisions out, both policies."""

from collections.abc import Callable

import pytest

from aurora_batch import router
from aurora_batch.model import Policy
from benchmarks.markets import market
from benchmarks.ratios import seconds

DOCUMENTED_ROUTES_PER_SECOND = 10_000  # the figure that the product's documents promise


@pytest.mark.parametrize("load", [0.5, 1.2])
@pytest.mark.parametrize("offers", [8, 64])
@pytest.mark.parametrize("policy", list(Policy))
def test_step(benchmark: Callable[..., object], policy: Policy, offers: int, load: float) -> None:
    """10,000 requests in one batch; value and fill beside the time, and greedy's on the same."""
    made = market(10_000, offers, load)
    state = router.initial_state(made.fleet, made.settings)

    def run(chosen: Policy) -> router.Step:
        step = router.step(made.requests, made.fleet, state, made.settings, policy=chosen)
        assert step.coded.num_rows == 10_000  # made when they are first looked at
        return step

    done = run(policy)
    benchmark(run, policy)
    info = benchmark.extra_info  # type: ignore[attr-defined]
    own = seconds(lambda: run(policy))
    info["routes_per_second"] = round(10_000 / own)
    info["times_documented"] = round(10_000 / own / DOCUMENTED_ROUTES_PER_SECOND, 1)
    info["fill"] = done.batch.served / 10_000
    info["value"] = round(done.batch.value, 1)
    if policy is Policy.GLOBAL:
        greedy = run(Policy.GREEDY).batch
        info["gap_percent"] = done.batch.gap * 100
        info["value_over_greedy_percent"] = (done.batch.value / greedy.value - 1) * 100
        info["time_over_greedy"] = own / seconds(lambda: run(Policy.GREEDY))
