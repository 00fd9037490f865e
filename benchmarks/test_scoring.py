"""Filter + score + best of n x m pairs on one core: kernel, NumPy broadcasting, plain loop."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from aurora_batch import scoring
from aurora_batch.model import Scoring
from aurora_batch.scoring import Columns, Tenants
from benchmarks.markets import market
from benchmarks.ratios import seconds
from kernels.pairs import Supply
from tests import naive

LOOP_ROWS = 2_000  # the plain loop runs on this many requests


def columns_of(n: int, m: int) -> tuple[Columns, Supply]:
    """A market as columns, whole."""
    made = market(n, m, load=0.8)
    tenants = Tenants.from_settings(made.settings)
    fleet = made.fleet
    supply = Supply(fleet.pool_capacity, fleet.pool_capacity, np.zeros(0))
    return scoring.columns(made.requests, fleet, tenants), supply


def broadcast(c: Columns, supply: Supply) -> NDArray[np.int64]:
    """The same with NumPy: an n x m matrix in chunks of rows, so that it fits into memory."""
    r, b = c.requests, c.blocks
    inverse = np.stack([1 / b.price, 1 / b.latency, b.reputation / 100])
    available = supply.left[b.pool] / supply.total[b.pool]
    picks = []
    for low in range(0, r.hours.size, 10_000):
        s = slice(low, low + 10_000)
        ok = b.gpu_match[r.group[s]] & b.region_match[r.group[s]]
        ok &= b.price <= r.max_price[s, None]
        ok &= b.latency <= r.max_latency[s, None]
        ok &= b.reputation >= r.min_reputation[s, None]
        ok &= supply.left[b.pool] >= r.hours[s, None]
        score = r.weights[s] @ np.vstack([inverse, available])
        picks.append(np.where(ok.any(axis=1), np.where(ok, score, -1).argmax(axis=1), -1))
    return np.concatenate(picks)


def plain_loop(c: Columns, supply: Supply, rows: int) -> list[int]:
    """The same, pair by pair in Python."""
    tops = [
        naive.best(naive.feasible_pairs(c.offers, c.requests, supply, False, i))
        for i in range(rows)
    ]
    return [top.offer if top else -1 for top in tops]


@pytest.mark.parametrize("scored", list(Scoring))
@pytest.mark.parametrize("size", [(100_000, 64), (100_000, 8), (10_000, 512)], ids=str)
def test_best(benchmark: Callable[..., object], size: tuple[int, int], scored: Scoring) -> None:
    """Routes/s of the kernel, with the ratio to broadcasting and to the plain loop."""
    c, supply = columns_of(*size)
    offer, _ = scoring.best_pairs(c, supply, scored)  # compiled here
    benchmark(scoring.best_pairs, c, supply, scored)

    own = seconds(lambda: scoring.best_pairs(c, supply, scored))
    benchmark.extra_info["routes_per_second"] = round(size[0] / own)
    if scored is Scoring.DOCUMENTED:
        rows = min(LOOP_ROWS, size[0])
        assert (broadcast(c, supply) == offer).mean() > 0.999  # 1/price rounds apart in ties
        assert plain_loop(c, supply, rows) == offer[:rows].tolist()
        broadcasting = seconds(lambda: broadcast(c, supply), repeat=3)
        looping = seconds(lambda: plain_loop(c, supply, rows), repeat=3) / rows * size[0]
        benchmark.extra_info["times_numpy"] = round(broadcasting / own, 1)
        benchmark.extra_info["times_plain_loop"] = round(looping / own, 1)
