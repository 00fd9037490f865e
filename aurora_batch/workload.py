"""Seeded request logs: the tenants and workloads of the settings, and a stress log for a fleet.

Both are vectorised and depend on their arguments alone: the same seed gives the same bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch.fleet import Fleet
from aurora_batch.model import ANY_OF, ANYWHERE, normalize_gpus
from aurora_batch.schema import REQUEST_SCHEMA, WEIGHTS_TYPE
from aurora_batch.settings import Settings, TenantSettings

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

START = datetime(2026, 1, 1, tzinfo=UTC)
COUNT_SD = 2.0  # of a tenant's requests in a step at load 1


def generate(
    settings: Settings, *, steps: int, seed: int, load: float = 1.0, start: datetime = START
) -> pa.Table:
    """Return the requests that the configured tenants make in `steps` windows, by event time.

    A tenant makes round(N(requests_per_step x load, 2 x load)) requests in a step, never fewer than
    none, at uniform moments of it; each is a workload drawn from the tenant's mix, with GPU-hours
    uniform in the workload's range, in the tenant's region and with its limits. Weights are left
    to the tenant's settings.
    """
    rng = np.random.default_rng(seed)
    tenants = {i: t for i, t in settings.tenants.items() if t.requests_per_step and t.mix}
    mean = np.array([t.requests_per_step for t in tenants.values()])
    drawn = rng.normal(mean * load, COUNT_SD * load, (steps, len(tenants)))
    counts = np.rint(np.maximum(drawn, 0)).astype(np.int64)
    step = np.repeat(np.arange(steps), counts.sum(axis=1))
    tenant = np.repeat(np.tile(np.arange(len(tenants)), steps), counts.ravel())
    workload = _draw(_mixes(settings, tenants), tenant, rng)
    ranges = np.array([w.gpu_hours for w in settings.workloads.values()]).reshape(-1, 2)
    low, high = ranges[workload].T
    hours = low + (high - low) * rng.random(step.size)
    window_us = round(settings.router.window_s * 1e6)
    at = step * window_us + (rng.random(step.size) * window_us).astype(np.int64)
    order = np.argsort(at, kind="stable")
    tenant, workload = tenant[order], workload[order]
    said = list(tenants.values())
    return table(
        at[order] + _us(start),
        tenant_id=words(list(tenants), tenant),
        workload_type=words(list(settings.workloads), workload),
        gpu_type=words([normalize_gpus(w.gpu_type) for w in settings.workloads.values()], workload),
        region=words([t.region for t in said], tenant),
        gpu_hours=pa.array(hours[order]),
        max_price=_numbers([t.max_price for t in said], tenant),
        max_latency_ms=_numbers([t.max_latency_ms for t in said], tenant),
        min_reputation=_numbers([t.min_reputation for t in said], tenant),
    )


def _mixes(settings: Settings, tenants: dict[str, TenantSettings]) -> F64:
    """Return cumulative shares of the workloads, shape (tenants, workloads)."""
    names = list(settings.workloads)
    shares = np.array([[t.mix.get(name, 0.0) for name in names] for t in tenants.values()])
    shares = shares.reshape(len(tenants), len(names))
    return np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)


def _draw(cumulative: F64, row: I64, rng: np.random.Generator) -> I64:
    """Draw a column for each entry of `row` by that row's shares."""
    drawn = (rng.random(row.size)[:, None] >= cumulative[row]).sum(axis=1)
    return np.asarray(np.minimum(drawn, max(cumulative.shape[1] - 1, 0)), np.int64)


@dataclass(frozen=True)
class Recipe:
    """Shares and sizes of a stress log; see `stress`."""

    any_of: float = 0.3
    anywhere: float = 0.25
    max_price: float = 0.4
    max_latency: float = 0.3
    min_reputation: float = 0.3
    weights: float = 0.3
    high_priority: float = 0.15
    top_priority: float = 0.05
    tenants: int = 200
    known_tenants: float = 0.1
    spread: float = 0.8


# What a request that states weights cares for: price, latency, reputation, availability.
_CARES = (
    {"price": 0.7, "latency": 0.1, "reputation": 0.1, "availability": 0.1},
    {"latency": 0.8},
    {"price": 0.2, "reputation": 0.6},
    {"price": 0.25, "latency": 0.25, "reputation": 0.25, "availability": 0.25},
)
_WORKLOADS = ("llm_inference", "llm_training", "rendering", "general")


def stress(
    fleet: Fleet,
    n: int,
    *,
    seed: int,
    load: float = 1.2,
    per_window: int = 5_000,
    window_s: float = 60.0,
    start: datetime = START,
    known_tenants: Sequence[str] = (),
    recipe: Recipe = Recipe(),
) -> pa.Table:
    """Return n requests whose demand in a window is about `load` x the fleet's capacity.

    Every request is made around an offer that could serve it, drawn in proportion to its pool's
    capacity: it asks for that GPU type (a share `recipe.any_of` of them: or for a second one too),
    in one of the offer's regions (`anywhere`: in any), and states, with the given probabilities, a
    price limit of 1 to 1.8 times the offer's price, a latency limit of 1 to 1.6 times its latency
    and a least reputation of 0.7 to 1 times its own. So a part of the requests can go to one
    provider only and a part to many, and who takes whose place matters. GPU-hours are lognormal
    (sigma `spread`), cut at ten times their mean; a share `weights` states weights, in part or in
    full; priorities are 1, 2 (`high_priority`) or 5 (`top_priority`). Tenants are `tenants` names
    without a budget, and with probability `known_tenants` one of those given. Arrivals are uniform,
    `per_window` in each window.
    """
    rng = np.random.default_rng(seed)
    pool_offers = np.bincount(fleet.offer_pool, minlength=len(fleet.pool_ids))
    share = (fleet.pool_capacity / np.maximum(pool_offers, 1))[fleet.offer_pool]
    offer = rng.choice(fleet.offers, n, p=share / share.sum())
    hours = rng.lognormal(-(recipe.spread**2) / 2, recipe.spread, n).clip(0.01, 10)
    hours *= load * fleet.pool_capacity.sum() / per_window
    span_us = n / per_window * window_s * 1e6
    at = np.sort((rng.random(n) * span_us).astype(np.int64))
    high, top = recipe.high_priority, recipe.top_priority
    priority = rng.choice([1.0, 2.0, 5.0], n, p=[1 - high - top, high, top])
    names = [f"tenant-{i:03d}" for i in range(recipe.tenants)]
    tenant = rng.integers(recipe.tenants, size=n)
    if known_tenants:
        known = recipe.tenants + rng.integers(len(known_tenants), size=n)
        tenant = np.where(rng.random(n) < recipe.known_tenants, known, tenant)
    return table(
        at + _us(start),
        tenant_id=words([*names, *known_tenants], tenant),
        workload_type=words(_WORKLOADS, rng.integers(len(_WORKLOADS), size=n)),
        gpu_type=_accepted(fleet, offer, rng.random(n) < recipe.any_of, rng),
        region=regions_of(fleet, offer, rng.random(n) < recipe.anywhere, rng),
        gpu_hours=pa.array(hours),
        **limits_around(fleet, offer, rng, recipe),
        weights=_weights(rng.random(n) < recipe.weights, rng),
        priority=pa.array(priority),
    )


def limits_around(
    fleet: Fleet, offer: I64, rng: np.random.Generator, recipe: Recipe
) -> dict[str, pa.Array]:
    """Return limits that each `offer` meets, some tightly; null where a request states none."""
    n = offer.size
    price = fleet.offer_price[offer] * rng.uniform(1.0, 1.8, n)
    latency = fleet.offer_latency_ms[offer] * rng.uniform(1.0, 1.6, n)
    reputation = fleet.offer_reputation[offer] * rng.uniform(0.7, 1.0, n)
    unsaid = [
        rng.random(n) >= share
        for share in (recipe.max_price, recipe.max_latency, recipe.min_reputation)
    ]
    return {
        "max_price": pa.array(np.ceil(price * 1000) / 1000, mask=unsaid[0]),
        "max_latency_ms": pa.array(np.ceil(latency), mask=unsaid[1]),
        "min_reputation": pa.array(np.floor(reputation), mask=unsaid[2]),
    }


def _accepted(
    fleet: Fleet, offer: I64, several: NDArray[np.bool_], rng: np.random.Generator
) -> pa.Array:
    """Return the GPU type of each offer, or that and another one."""
    kinds = len(fleet.gpu_types)
    own = fleet.offer_gpu[offer].astype(np.int64)
    other = np.where(several, rng.integers(kinds, size=offer.size), own)
    both = [
        normalize_gpus(f"{one}{ANY_OF}{two}") for one in fleet.gpu_types for two in fleet.gpu_types
    ]
    return words(both, own * kinds + other)


def regions_of(
    fleet: Fleet, offer: I64, anywhere: NDArray[np.bool_], rng: np.random.Generator
) -> pa.Array:
    """Return one of each offer's regions, or `global`."""
    count = np.array([len(regions) for regions in fleet.offer_regions])
    first = np.cumsum(count) - count
    pick = first[offer] + (rng.random(offer.size) * count[offer]).astype(np.int64)
    names = [region for regions in fleet.offer_regions for region in regions]
    return words([*names, ANYWHERE], np.where(anywhere, len(names), pick))


def _weights(stated: NDArray[np.bool_], rng: np.random.Generator) -> pa.Array:
    kind = np.where(stated, rng.integers(len(_CARES), size=stated.size), len(_CARES))
    return pa.array([*_CARES, None], WEIGHTS_TYPE).take(pa.array(kind))


def _us(moment: datetime) -> int:
    return int(moment.timestamp() * 1e6)


def words(choices: Sequence[str], index: I64) -> pa.Array:
    """Return the text that each entry of `index` (n,) stands for."""
    return pa.array(list(choices), pa.string()).take(pa.array(index))


def _numbers(values: Sequence[float | None], index: I64) -> pa.Array:
    return pa.array(list(values), pa.float64()).take(pa.array(index))


def table(at_us: I64, **columns: pa.Array) -> pa.Table:
    """Return requests numbered in their order; columns not given are null, priorities 1.

    `at_us` is the event time in microseconds since the epoch, shape (n,).
    """
    n = at_us.size
    number = pc.utf8_lpad(pa.array(np.arange(n)).cast(pa.string()), 9, "0")
    columns["request_id"] = pc.binary_join_element_wise("req", number, "-")
    columns["requested_at"] = pa.array(at_us).cast(REQUEST_SCHEMA.field("requested_at").type)
    columns.setdefault("priority", pa.repeat(1.0, n))
    arrays = [columns.get(f.name, pa.nulls(n, f.type)) for f in REQUEST_SCHEMA]
    return pa.table(arrays, schema=REQUEST_SCHEMA)
