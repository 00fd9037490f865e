"""From request tables to the kernels' columns: defaults, classes, memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aurora_batch import scoring
from aurora_batch.fleet import Fleet, default_fleet
from aurora_batch.model import Scoring
from aurora_batch.scoring import Columns, Tenants
from aurora_batch.settings import (
    Limits,
    PartialWeights,
    RouterSettings,
    Settings,
    TenantSettings,
    Weights,
)
from benchmarks.markets import market
from kernels.pairs import Supply
from tests.requests import table

SETTINGS = Settings(
    router=RouterSettings(
        defaults=Limits(max_price=9.0, min_reputation=10.0),
        weights=Weights(price=0.4, latency=0.3, reputation=0.2, availability=0.1),
    ),
    tenants={
        "plain": TenantSettings(),
        "picky": TenantSettings(
            max_price=2.0, max_latency_ms=300.0, weights=PartialWeights(price=1.0),
            budget_usd_per_step=5.0,
        ),
    },
)  # fmt: skip


def columns(rows: list[dict[str, object]], fleet: Fleet | None = None) -> Columns:
    """Columns of requests under the settings above."""
    tenants = Tenants.from_settings(SETTINGS)
    return scoring.columns(table(rows), fleet or default_fleet(), tenants)


@pytest.mark.parametrize(
    ("said", "price", "latency", "reputation"),
    [
        ({"tenant_id": "nobody"}, 9.0, np.inf, 10.0),
        ({}, 9.0, np.inf, 10.0),
        ({"tenant_id": "plain"}, 9.0, np.inf, 10.0),
        ({"tenant_id": "picky"}, 2.0, 300.0, 10.0),
        ({"tenant_id": "picky", "max_price": 3.0, "min_reputation": 0.0}, 3.0, 300.0, 0.0),
    ],
)
def test_limits_are_the_requests_then_the_tenants_then_the_routers(
    said: dict[str, object], price: float, latency: float, reputation: float
) -> None:
    """Each limit by itself takes the nearest that is said; without any there is none."""
    r = columns([said]).requests

    assert (r.max_price[0], r.max_latency[0], r.min_reputation[0]) == (price, latency, reputation)


def test_missing_weights_are_the_tenants_then_the_routers() -> None:
    """A partial object of weights is filled up key by key."""
    r = columns(
        [
            {"tenant_id": "picky", "weights": {"latency": 0.9}},
            {"tenant_id": "picky"},
            {"weights": {"price": 0.0}},
        ]
    ).requests

    assert r.weights.tolist() == [[1.0, 0.9, 0.2, 0.1], [1.0, 0.3, 0.2, 0.1], [0.0, 0.3, 0.2, 0.1]]


def test_only_tenants_with_a_budget_draw_on_one() -> None:
    """Others, and unknown ones, have none."""
    r = columns([{"tenant_id": t} for t in ("picky", "plain", "nobody", None)]).requests

    assert r.tenant.tolist() == [0, -1, -1, -1]


def test_a_class_lists_only_offers_that_can_match() -> None:
    """GPU types and region of a request decide which offers are visited at all."""
    fleet = default_fleet()
    c = columns(
        [
            {"gpu_type": "h100", "region": "eu-west-1"},
            {"gpu_type": "3080|h100", "region": "mars"},
            {"gpu_type": "b200"},
        ]
    )
    listed = [
        {
            fleet.provider_ids[fleet.offer_provider[o]]
            for o in c.offers.offer[c.offers.start[g] : c.offers.start[g + 1]]
        }
        for g in c.requests.group
    ]

    assert listed == [{"aethir"}, {"salad"}, set()]


def test_classes_are_few_however_many_regions_are_named() -> None:
    """Regions that no offer lists share one class, so hostile names cost nothing."""
    c = columns([{"region": f"nowhere-{i}"} for i in range(500)])

    assert c.offers.start.size == 2


@pytest.mark.parametrize("scored", list(Scoring))
def test_the_best_score_is_the_same_however_it_is_found(scored: Scoring) -> None:
    """Bit for bit, with and without a list of pairs: a value is scaled by either."""
    for seed in range(10):
        made = market(500, 64, seed=seed)
        c = scoring.columns(made.requests, made.fleet, Tenants.from_settings(made.settings))
        share = np.random.default_rng(seed).random(made.fleet.pool_capacity.size)
        left = made.fleet.pool_capacity * share
        supply = Supply(left, made.fleet.pool_capacity, np.zeros(0))
        best = scoring.feasible_rows(c, supply, scored).best

        assert best.tolist() == scoring.best_pairs(c, supply, scored)[1].tolist()


def test_shortened_rows_hold_the_best_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the limit every request keeps its best pairs, and `rest` names the best one left out."""
    made = market(200, 64, seed=9)
    c = scoring.columns(made.requests, made.fleet, Tenants.from_settings(made.settings))
    supply = Supply(made.fleet.pool_capacity, made.fleet.pool_capacity, np.zeros(0))
    whole = scoring.feasible_rows(c, supply, Scoring.DOCUMENTED)
    monkeypatch.setattr(scoring, "MAX_PAIRS", 400)
    monkeypatch.setattr(scoring, "CHUNK_ROWS", 64)
    short = scoring.feasible_rows(c, supply, Scoring.DOCUMENTED)

    assert short.best.tolist() == whole.best.tolist()
    assert short.rest is not None
    for i in range(200):
        ranked = np.sort(whole.scores[whole.indptr[i] : whole.indptr[i + 1]])[::-1]
        kept = np.sort(short.scores[short.indptr[i] : short.indptr[i + 1]])[::-1]
        assert kept.tolist() == ranked[:2].tolist()
        assert short.rest[i] == (ranked[2] if ranked.size > 2 else -1.0)


@pytest.mark.parametrize("top", [0, 3])
def test_known_pairs_are_not_scored_again(top: int) -> None:
    """Next best offers are the same from all feasible pairs as from scoring the served ones."""
    made = market(200, 64, seed=9)
    c = scoring.columns(made.requests, made.fleet, Tenants.from_settings(made.settings))
    supply = Supply(made.fleet.pool_capacity, made.fleet.pool_capacity, np.zeros(0))
    chosen = scoring.best_pairs(c, supply, Scoring.DOCUMENTED)[0]
    chosen[::3] = -1
    rows = scoring.feasible_rows(c, supply, Scoring.DOCUMENTED)

    anew = scoring.next_best(c, supply, Scoring.DOCUMENTED, chosen, top)
    known = scoring.next_best(c, supply, Scoring.DOCUMENTED, chosen, top, rows)

    assert (anew[0] >= 0).any()
    for one, other in zip(anew, known, strict=True):
        assert one.tolist() == other.tolist()


def test_tenants_are_those_of_the_settings_given() -> None:
    """Resolved once for settings that stay the same, and again for others."""
    budgets = [Tenants.from_settings(s).budget_ids for s in (SETTINGS, Settings(), SETTINGS)]

    assert budgets == [("picky",), Tenants.from_settings(Settings()).budget_ids, ("picky",)]


def test_a_wide_fleet_needs_little_memory() -> None:
    """Filtering, scoring and listing 100,000 x 4,096 pairs stays below 1 GiB in a process."""
    script = (
        "import pathlib, resource, numpy as np\n"
        "from benchmarks.markets import market\n"
        "from aurora_batch import scoring\n"
        "from aurora_batch.model import Scoring\n"
        "from kernels.pairs import Supply\n"
        "made = market(100_000, 4096)\n"
        "tenants = scoring.Tenants.from_settings(made.settings)\n"
        "c = scoring.columns(made.requests, made.fleet, tenants)\n"
        "s = Supply(made.fleet.pool_capacity, made.fleet.pool_capacity, np.zeros(0))\n"
        "scoring.best_pairs(c, s, Scoring.DOCUMENTED)\n"
        "rows = scoring.feasible_rows(c, s, Scoring.DOCUMENTED)\n"
        "scoring.next_best(c, s, Scoring.DOCUMENTED, rows.indices[rows.indptr[:-1] - 1], 2)\n"
        "peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "status = pathlib.Path('/proc/self/status')\n"
        "if status.exists():  # ru_maxrss counts what the parent had when it forked\n"
        "    peak = status.read_text().split('VmHWM:')[1].split()[0]\n"
        "print(rows.indices.size, peak)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=110,
    )  # fmt: skip
    listed, peak = map(int, done.stdout.split())

    assert listed > 1_000_000
    assert peak * (1 if sys.platform == "darwin" else 1024) < 2**30
