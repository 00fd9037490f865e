"""Front door to `kernels.pairs`: requests and a fleet to columns and pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch.fleet import Fleet
from aurora_batch.model import ANYWHERE, Scoring
from aurora_batch.schema.buffers import whole
from aurora_batch.settings import RouterSettings, Settings, TenantSettings
from kernels import pairs
from kernels.pairs import BlockTable, OfferTable, RequestTable, Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

# Pairs listed for one solve: indices, scores, values and costs take 28 bytes a pair, and the solver
# about as much, so half a gigabyte. Beyond it each request keeps its best-scored pairs, and the
# bound accounts for the rest.
MAX_PAIRS = 8_000_000
CHUNK_ROWS = 4_096
MOST_KEYS = 4_096  # of few requests, that are told apart by a table of all keys


@dataclass(frozen=True)
class Columns:
    """A batch in the form that the kernels read."""

    requests: RequestTable
    offers: OfferTable
    blocks: BlockTable
    priority: F64  # (n,)
    region: I64  # (n,) 0 = anywhere, else 1 + its place in `Fleet.regions`, or beyond


@dataclass(frozen=True)
class Rows:
    """Feasible pairs as compressed rows (names as for SciPy's CSR)."""

    indptr: I64  # (n + 1,)
    indices: I32  # (pairs,) fleet offer, ascending within a row
    scores: F64  # (pairs,)
    best: F64  # (n,) best score, -1 where a request has no feasible pair
    rest: F64 | None  # (n,) best score left out of the row, -1 for none; None: nothing left out


@dataclass(frozen=True)
class Tenants:
    """Configured tenants as columns; row T (the last) stands for everybody else."""

    ids: tuple[str, ...]
    budget_ids: tuple[str, ...]
    budget: F64  # (t,) USD per window
    budget_row: I32  # (T + 1,) row of `budget`, -1 = none
    limits: F64  # (T + 1, 3) max_price, max_latency_ms (+inf: none), min_reputation (-inf)
    weights: F64  # (T + 1, 4)

    @classmethod
    def from_settings(cls, settings: Settings) -> "Tenants":
        """Resolve each tenant's limits and weights against the router's.

        Those of the settings asked about last are remembered: batch after batch has the same ones.
        """
        global _latest
        known = _latest  # another thread may replace it
        if known is None or known[0] is not settings:
            _latest = known = settings, cls._resolved(settings)
        return known[1]

    @classmethod
    def _resolved(cls, settings: Settings) -> "Tenants":
        tenants: Sequence[TenantSettings] = [*settings.tenants.values(), TenantSettings()]
        with_budget = [t for t, s in settings.tenants.items() if s.budget_usd_per_step is not None]
        rows = {name: row for row, name in enumerate(with_budget)}
        return cls(
            ids=tuple(settings.tenants),
            budget_ids=tuple(with_budget),
            budget=np.array(
                [settings.tenants[t].budget_usd_per_step for t in with_budget], np.float64
            ),
            budget_row=np.array([*(rows.get(t, -1) for t in settings.tenants), -1], np.int32),
            limits=np.array([_limits(t, settings.router) for t in tenants], np.float64),
            weights=np.array([_weights(t, settings.router) for t in tenants], np.float64),
        )


_latest: tuple[Settings, Tenants] | None = None


def _limits(tenant: TenantSettings, router: RouterSettings) -> list[float]:
    none = {"max_price": np.inf, "max_latency_ms": np.inf, "min_reputation": -np.inf}
    said = ((getattr(tenant, k), getattr(router.defaults, k), v) for k, v in none.items())
    return [next(x for x in choice if x is not None) for choice in said]


def _weights(tenant: TenantSettings, router: RouterSettings) -> list[float]:
    return list(tenant.weights.over(router.weights).values())


def columns(requests: pa.Table, fleet: Fleet, tenants: Tenants) -> Columns:
    """Return the kernels' view of canonical requests (`schema.REQUEST_SCHEMA`)."""
    tenant = _tenants(requests["tenant_id"], tenants)
    limits = tenants.limits[tenant]
    group, gpus, gpu, region = _classes(requests, fleet)
    matches = [_gpu_match(fleet, g) for g in gpus]
    gpu_match = np.array(matches, np.bool_).reshape(len(gpus), fleet.offers)[gpu]
    region_match = np.ones((region.size, fleet.offers), np.bool_)
    named = region > 0
    region_match[named] = fleet.serves.T[region[named] - 1]
    listed = gpu_match & region_match & fleet.offer_active
    start = np.zeros(gpu.size + 1, np.int64)
    np.cumsum(listed.sum(axis=1), out=start[1:])
    offer = np.nonzero(listed)[1].astype(np.int32)
    return Columns(
        requests=RequestTable(
            group=group,
            hours=_floats(requests["gpu_hours"]),
            max_price=_filled(requests["max_price"], limits[:, 0]),
            max_latency=_filled(requests["max_latency_ms"], limits[:, 1]),
            min_reputation=_filled(requests["min_reputation"], limits[:, 2]),
            weights=_request_weights(requests["weights"], tenants.weights[tenant]),
            tenant=tenants.budget_row[tenant],
        ),
        offers=OfferTable(
            start=start,
            offer=offer,
            pool=fleet.offer_pool[offer],
            price=fleet.offer_price[offer],
            latency=fleet.offer_latency_ms[offer],
            reputation=fleet.offer_reputation[offer],
        ),
        blocks=BlockTable(
            gpu_match=gpu_match,
            region_match=region_match,
            active=fleet.offer_active.copy(),
            pool=fleet.offer_pool.copy(),
            price=fleet.offer_price.copy(),
            latency=fleet.offer_latency_ms.copy(),
            reputation=fleet.offer_reputation.copy(),
        ),
        priority=_floats(requests["priority"]),
        region=region[group],
    )


# Batch after batch asks for the same few; those of a fleet that is gone make room.
_gpu_match = lru_cache(maxsize=256)(Fleet.gpu_match)


def _tenants(column: pa.ChunkedArray, tenants: Tenants) -> I64:
    """Row of each request's tenant; the last one where it is null or not known."""
    if not tenants.ids:
        return np.zeros(len(column), np.int64)
    row = pc.index_in(whole(column), value_set=pa.array(tenants.ids, pa.string()))
    return np.asarray(row.fill_null(len(tenants.ids)).to_numpy(), np.int64)


def _classes(requests: pa.Table, fleet: Fleet) -> tuple[I32, list[str], I64, I64]:
    """Class of each request (GPU types x region); GPU types, and each class's code of both.

    The code of a region is that of `Columns.region`. Regions that no offer lists are one: only
    offers that serve everywhere match.
    """
    gpu = whole(requests["gpu_type"]).dictionary_encode()
    code = pc.index_in(whole(requests["region"]), value_set=_regions(fleet))
    region = code.fill_null(len(fleet.regions) + 1).to_numpy()
    width = len(fleet.regions) + 2
    distinct, group = _numbered(
        gpu.indices.to_numpy().astype(np.int64) * width + region, len(gpu.dictionary) * width
    )
    return group, gpu.dictionary.to_pylist(), distinct // width, distinct % width


@lru_cache(maxsize=4)
def _regions(fleet: Fleet) -> pa.Array:
    return pa.array([ANYWHERE, *fleet.regions], pa.string())


def _numbered(keys: I64, size: int) -> tuple[I64, I32]:
    """Return the distinct keys, ascending, and which of them each one is.

    The keys are below `size`; a table of that size is faster than sorting, as long as it is small.
    """
    if size > max(MOST_KEYS, keys.size):
        distinct, which = np.unique(keys, return_inverse=True)
        return distinct, which.astype(np.int32)
    known = np.zeros(size, np.bool_)
    known[keys] = True
    return np.flatnonzero(known), (np.cumsum(known, dtype=np.int32) - 1)[keys]


def _floats(column: pa.ChunkedArray) -> F64:
    """Column as float64; null becomes NaN.

    A copy, because a view of Arrow's memory cannot be written to, and Numba would compile every
    kernel again for arrays of that kind.
    """
    return np.array(whole(column).to_numpy(zero_copy_only=False), np.float64)


def _filled(column: pa.ChunkedArray, default: F64) -> F64:
    values = _floats(column)
    return np.where(np.isnan(values), default, values)


def _request_weights(column: pa.ChunkedArray, default: F64) -> F64:
    if column.null_count == len(column):
        return np.ascontiguousarray(default)
    parts = whole(column).flatten()  # in the order of `WEIGHTS`
    own = np.stack([part.to_numpy(zero_copy_only=False) for part in parts], axis=1)
    return np.where(np.isnan(own), default, own)


def feasible_rows(c: Columns, supply: Supply, scoring: Scoring) -> Rows:
    """Return all feasible pairs with their scores, or each request's best where there are too many.

    Memory is bounded by `MAX_PAIRS` whatever n x m is: rows are scored in chunks and shortened to
    their best `MAX_PAIRS / n` pairs.
    """
    counts = pairs.count_pairs(c.offers, c.requests, supply)
    n = counts.size
    most = max(1, MAX_PAIRS // max(n, 1))
    if int(counts.sum()) <= MAX_PAIRS:
        rows, position, score = _scored(c, supply, scoring, np.arange(n), counts)
        best = pairs.best_of_rows(rows, score)
        return Rows(rows, c.offers.offer[position], score, best, None)
    parts = []
    for low in range(0, n, CHUNK_ROWS):
        some = np.arange(low, min(low + CHUNK_ROWS, n))
        rows, position, score = _scored(c, supply, scoring, some, counts[some])
        best = pairs.best_of_rows(rows, score)
        short = np.empty_like(rows)
        rest = pairs.keep_best(rows, position, score, most, short)
        kept = int(short[-1])
        parts.append(
            (np.diff(short), c.offers.offer[position[:kept]], score[:kept].copy(), best, rest)
        )
    lengths, indices, scores, best, rest = (np.concatenate(p) for p in zip(*parts, strict=True))
    indptr = np.zeros(n + 1, np.int64)
    np.cumsum(lengths, out=indptr[1:])
    return Rows(indptr, indices, scores, best, rest)


def _scored(
    c: Columns, supply: Supply, scoring: Scoring, rows: I64, counts: I64
) -> tuple[I64, I32, F64]:
    indptr = np.zeros(rows.size + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    position = np.empty(int(indptr[-1]), np.int32)
    score = np.empty(int(indptr[-1]), np.float64)
    normalized = scoring is Scoring.NORMALIZED
    pairs.score_rows(c.offers, c.requests, supply, normalized, rows, indptr, position, score)
    return indptr, position, score


def next_best(
    c: Columns, supply: Supply, scoring: Scoring, chosen: I32, top: int, known: Rows | None = None
) -> tuple[F64, I32, F64]:
    """Return the served requests' own scores (n,), and their `top` next best offers and scores.

    Shapes (n,), (n, top), (n, top); -1 where refused or where there are no more. Chunked, so memory
    stays bounded; `known` are all feasible pairs, where somebody listed them.
    """
    n = chosen.size
    offers = np.full((n, top), -1, np.int32)
    scores = np.full((n, top), -1.0)
    if known is not None and known.rest is None:
        own = pairs.next_best(known.indices, known.scores, known.indptr, chosen, offers, scores)
        offers[chosen < 0], scores[chosen < 0] = -1, -1.0
        return own, offers, scores
    own = np.full(n, -1.0)
    counts = pairs.count_pairs(c.offers, c.requests, supply)
    served = np.flatnonzero(chosen >= 0)
    for low in range(0, served.size, CHUNK_ROWS):
        some = served[low : low + CHUNK_ROWS]
        rows, position, score = _scored(c, supply, scoring, some, counts[some])
        out_offer = np.empty((some.size, top), np.int32)
        out_score = np.empty((some.size, top), np.float64)
        own[some] = pairs.next_best(
            c.offers.offer[position], score, rows, chosen[some], out_offer, out_score
        )
        offers[some], scores[some] = out_offer, out_score
    return own, offers, scores


def best_pairs(c: Columns, supply: Supply, scoring: Scoring) -> tuple[I32, F64]:
    """Return each request's best-scored feasible offer (-1: none) and its score, both (n,)."""
    offer = np.empty(c.requests.hours.size, np.int32)
    score = np.empty(c.requests.hours.size, np.float64)
    pairs.best_pairs(c.offers, c.requests, supply, scoring is Scoring.NORMALIZED, offer, score)
    return offer, score
