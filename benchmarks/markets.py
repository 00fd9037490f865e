"""Named, seeded markets for benchmarks: a fleet of m offers and n requests for them."""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from aurora_batch.fleet import Fleet, fleet_from_settings
from aurora_batch.schema import REQUEST_SCHEMA
from aurora_batch.settings import ProviderSettings, Settings

GPUS = ("a100", "h100", "4090", "a6000", "l40", "t4", "3090", "v100")
REGIONS = ("eu-west-1", "us-west-2", "us-east-1", "ap-south-1")
BASE_PRICE = dict(zip(GPUS, (2.0, 3.4, 0.9, 1.1, 1.2, 0.4, 0.5, 0.8), strict=True))


@dataclass(frozen=True)
class Market:
    """Requests and what is for sale."""

    name: str
    requests: pa.Table
    fleet: Fleet
    settings: Settings


def market(n: int, m: int, load: float = 1.2, seed: int = 0) -> Market:
    """Return n requests for m offers, m/2 pools; demand is `load` x capacity.

    A provider sells two GPU types in one to three regions (one in four sells everywhere) and
    draws both on one pool. Requests want one GPU type that is sold (one in five any of two) in one
    region (one in three anywhere), with limits on price, latency and reputation that about half of
    the offers of their type meet; GPU-hours are lognormal.
    """
    rng = np.random.default_rng(seed)
    hours = rng.lognormal(0.0, 0.8, n)
    share = rng.dirichlet(np.full(m // 2, 4.0)) * hours.sum() / load
    providers = {f"market-{i}": _provider(rng, float(share[i])) for i in range(m // 2)}
    sold = sorted({g for p in providers.values() for g in p.base_price_usd_per_hour})
    gpu = np.array(sold)[rng.integers(0, len(sold), (n, 2))]
    several = rng.random(n) < 0.2
    region = np.array([*REGIONS, "global"])[rng.choice(5, n, p=[1 / 6, 1 / 6, 1 / 6, 1 / 6, 1 / 3])]
    base = np.array([BASE_PRICE[g] for g in gpu[:, 0]])
    start = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1e6)
    columns = {
        "request_id": [f"{seed}-{i}" for i in range(n)],
        "workload_type": ["general"] * n,
        "gpu_type": [
            "|".join(sorted({a, b})) if both else a
            for (a, b), both in zip(gpu.tolist(), several.tolist(), strict=True)
        ],
        "region": region.tolist(),
        "gpu_hours": hours,
        "max_price": base * rng.uniform(0.9, 2.0, n),
        "max_latency_ms": rng.uniform(150, 600, n),
        "min_reputation": rng.uniform(30, 80, n),
        "priority": rng.choice([0.5, 1.0, 2.0], n, p=[0.2, 0.6, 0.2]),
        "requested_at": start + np.sort(rng.integers(0, 59_000_000, n)),
    }
    arrays = [
        pa.array(columns[f.name]).cast(f.type) if f.name in columns else pa.nulls(n, f.type)
        for f in REQUEST_SCHEMA
    ]
    table = pa.table(arrays, schema=REQUEST_SCHEMA)
    name = f"{n}x{m}-load{load}"
    return Market(name, table, fleet_from_settings(providers), Settings())


def _provider(rng: np.random.Generator, capacity: float) -> ProviderSettings:
    sold = rng.choice(len(GPUS), 2, replace=False)
    served = rng.choice(REGIONS, rng.integers(1, 4), replace=False).tolist()
    return ProviderSettings(
        base_price_usd_per_hour={
            GPUS[g]: round(BASE_PRICE[GPUS[g]] * float(rng.uniform(0.7, 1.5)), 3) for g in sold
        },
        base_latency_ms=round(float(rng.uniform(80, 500)), 1),
        capacity_gpu_hours_per_step=capacity,
        reputation=round(float(rng.uniform(40, 98)), 1),
        regions=["global"] if rng.random() < 1 / 4 else served,
    )
