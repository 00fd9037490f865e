"""Allocation to decision rows: reasons, what stood in the way, alternatives (spec, section 3)."""

import math
from binascii import hexlify
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash
from numpy.typing import NDArray

from aurora_batch.fleet import Fleet
from aurora_batch.model import CONSTRAINTS, STATUS_OF_REASON, Policy, Reason
from aurora_batch.remedies import exact
from aurora_batch.schema import (
    ALTERNATIVE_TYPE,
    DECISION_SCHEMA,
    Choices,
    Codes,
    Decisions,
    Lists,
    Rejection,
    microseconds_of,
)
from aurora_batch.schema.buffers import buffers_of, whole
from aurora_batch.schema.times import TIMESTAMP
from aurora_batch.scoring import Columns
from kernels import decision_ids as kernel
from kernels import pairs
from kernels.decision_ids import DIGITS
from kernels.pairs import Supply

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

# Order of the codes in `Outcome.reason`.
REASONS = (
    Reason.NO_VIABLE_PROVIDER,
    Reason.NO_CAPACITY,
    Reason.BUDGET_EXCEEDED,
    Reason.BELOW_RESERVE_PRICE,
    Reason.OK,
)
_CODE = {reason: code for code, reason in enumerate(REASONS)}


def _texts(texts: Iterable[str]) -> pa.Array:
    return pa.array(list(map(str, texts)), pa.string())


_REASON = Choices({"reason": _texts(REASONS)})
_STATUS = Choices({"status": _texts(STATUS_OF_REASON[reason] for reason in REASONS)})


@dataclass(frozen=True)
class Outcome:
    """What was decided for the n requests of a batch, as columns."""

    offer: I32  # (n,) -1 = refused
    score: F64  # (n,) of the offer, -1 where refused
    other_offer: I32  # (n, top) next best, -1 = none
    other_score: F64  # (n, top)
    stage: I32 | None  # (n,) how far a refused request came, where the policy knows; see kernels
    left: Supply  # after the batch
    pool_prices: F64 | None  # (k,) shadow prices, None where the policy has none
    kept: "Kept | None"  # who was turned away by a reserve price, None where there are none
    remedy: Codes  # (n,) what would have placed a refused request, null where nothing single


@dataclass(frozen=True)
class Kept:
    """Reserve prices as each refused request met them, in value per GPU-hour."""

    offer: I32  # (n,) the offer where its value came nearest to its price, -1 = none
    price: F64  # (n,) there, of its pool and of its tenant's budget
    worth: F64  # (n,) of the request there


@dataclass(frozen=True)
class Stamp:
    """What all decisions of a batch share."""

    batch_id: str
    window_us: int
    decided_us: int
    policy: Policy


def coded(
    requests: pa.Table, c: Columns, fleet: Fleet, outcome: Outcome, stamp: Stamp
) -> Decisions:
    """Return a decision for each request, in their order."""
    n, offer = requests.num_rows, outcome.offer
    served = offer >= 0
    refused = np.flatnonzero(~served)
    at, effort, stage = pairs.block_reasons(c.blocks, c.requests, outcome.left, refused)
    if outcome.stage is not None:
        stage = outcome.stage[refused]
    turned_away = Reason.NO_CAPACITY if outcome.kept is None else Reason.BELOW_RESERVE_PRICE
    reason = np.full(n, _CODE[Reason.OK], np.int32)
    reason[refused] = np.where(stage == 3, _CODE[turned_away], stage)
    kept = refused[stage == 3] if outcome.kept is not None else refused[:0]
    said, place = _said(fleet), (c.region * fleet.offers + offer).astype(np.int32)
    columns = {
        "request_id": whole(requests["request_id"]),
        "decision_id": decision_ids(requests),
        **_STATUS.at(reason),
        **said.place.at(np.where(served, place, np.int32(-1))),
        "score": _numbers(np.where(served, outcome.score, np.nan)),
        "cost_usd": _numbers(said.price[offer] * c.requests.hours),
        **_REASON.at(reason),
        "blocked_by": _with_reserve(
            _blocked_by(c, fleet, outcome.left, refused, at, effort), fleet, outcome, kept
        ),
        "alternatives": _alternatives(said, outcome),
        "batch_id": _constant(stamp.batch_id, n),
        "window": _constant(stamp.window_us, n, TIMESTAMP),
        "shadow_price": _shadow_prices(fleet, outcome, kept),
        "policy": _constant(str(stamp.policy), n),
        "decided_at": _constant(stamp.decided_us, n, TIMESTAMP),
        "remedy": outcome.remedy,
    }
    return Decisions({name: columns[name] for name in DECISION_SCHEMA.names})


def rejected(rejections: Sequence[Rejection], policy: Policy, first_index: int = 0) -> pa.Table:
    """Return a `rejected` decision for each bad record; its fault is the reason.

    The detail stands in `blocked_by`. `first_index` is the position in the log of the first record
    of the decoded piece, so that a decision's id does not depend on where pieces were cut.
    """
    ids = [
        xxhash.xxh3_128_hexdigest(f"{first_index + r.index}\0{r.row}\0{r.request_id}".encode())
        for r in rejections
    ]
    said = {
        "request_id": [r.request_id for r in rejections],
        "decision_id": ids,
        "status": ["rejected"] * len(ids),
        "reason": [str(r.fault) for r in rejections],
        "blocked_by": [[r.detail] for r in rejections],
        "alternatives": [[] for _ in rejections],
        "policy": [str(policy)] * len(ids),
    }
    arrays = [
        pa.array(said[f.name], f.type) if f.name in said else pa.nulls(len(ids), f.type)
        for f in DECISION_SCHEMA
    ]
    return pa.table(arrays, schema=DECISION_SCHEMA)


def decision_ids(requests: pa.Table) -> pa.Array:
    """Return ids that depend on request id and event time alone: the same request, the same id.

    A request that is sent, or after a crash decided, twice keeps its decision's id, so readers can
    drop the second.
    """
    names = whole(requests["request_id"])
    event = microseconds_of(requests["requested_at"])
    octets, bounds, _ = buffers_of(names)
    said = np.empty(len(names) * DIGITS, np.uint8)
    for row in np.flatnonzero(kernel.decision_ids(octets, bounds, event.copy(), said)).tolist():
        key = f"{names[row].as_py()}\0{event[row]}".encode()
        own = hexlify(xxhash.xxh3_128_digest(key))
        said[row * DIGITS : (row + 1) * DIGITS] = np.frombuffer(own, np.uint8)
    ends = np.arange(len(names) + 1, dtype=np.int32) * np.int32(DIGITS)
    return pa.StringArray.from_buffers(len(names), pa.py_buffer(ends), pa.py_buffer(said))


class Said(NamedTuple):
    """What decisions say of a fleet's offers."""

    provider: I32  # (m + 1,) code of `providers` by offer; of offer -1, which is none, null
    price: F64  # (m + 1,), NaN of none
    providers: pa.Array
    place: Choices  # by code of the region asked for (`Columns.region`), times m, plus the offer
    other: Choices  # by offer


@lru_cache(maxsize=4)
def _said(fleet: Fleet) -> Said:
    # The region of a decision is the one asked for where the offer lists it, else its first.
    asked = [None, *fleet.regions, None]
    regions = [name if name in own else own[0] for name in asked for own in fleet.offer_regions]
    provider = _texts(fleet.provider_ids[p] for p in fleet.offer_provider)
    gpu = _texts(fleet.gpu_types[g] for g in fleet.offer_gpu)
    price = pa.array(fleet.offer_price)

    def everywhere(values: pa.Array) -> pa.Array:
        return pa.concat_arrays([values] * len(asked))

    place = {
        "provider": everywhere(provider),
        "gpu_type": everywhere(gpu),
        "region": _texts(regions),
        "price_usd_per_hour": everywhere(price),
        "estimated_latency_ms": everywhere(pa.array(fleet.offer_latency_ms)),
    }
    other = {"provider": provider, "gpu_type": gpu, "price_usd_per_hour": price}
    return Said(
        np.append(fleet.offer_provider, np.int32(-1)),
        np.append(fleet.offer_price, np.nan),
        _texts(fleet.provider_ids),
        Choices(place),
        Choices(other),
    )


def _numbers(numbers: F64) -> pa.Array:
    """Return numbers as a column, null for NaN."""
    return pa.array(numbers, from_pandas=True)


def _constant(value: str | int, n: int, kind: pa.DataType | None = None) -> Codes:
    return Codes(np.zeros(n, np.int32), pa.array([value], kind or pa.string()))


def _shadow_prices(fleet: Fleet, outcome: Outcome, kept: I64) -> Codes:
    """Price of the pool that a request draws on, or was too dear for it."""
    at = outcome.offer
    if outcome.pool_prices is None:
        return Codes(np.full_like(at, -1), pa.array([], pa.float64()))
    if outcome.kept is not None:
        at = at.copy()
        at[kept] = outcome.kept.offer[kept]
    return Codes(np.append(fleet.offer_pool, np.int32(-1))[at], pa.array(outcome.pool_prices))


def _with_reserve(blocked: Lists, fleet: Fleet, outcome: Outcome, kept: I64) -> Lists:
    """Add what a reserve price turned away: `reserve_price 1.73 at vast (worth 0.95)`.

    Both in value per GPU-hour. No other constraint stands in the way of these requests.
    """
    if outcome.kept is None or not kept.size:
        return blocked
    said = _said(fleet)
    provider = said.providers.take(pa.array(said.provider[outcome.kept.offer[kept]]))
    price, worth = (_short(x[kept]) for x in (outcome.kept.price, outcome.kept.worth))
    parts = ("reserve_price ", price, " at ", provider, " (worth ", worth, ")", "")
    codes, known, _ = blocked.fields[""]
    phrases = pa.concat_arrays([known, pc.binary_join_element_wise(*parts)])
    own = np.arange(len(known), len(phrases), dtype=np.int32)
    start = np.cumsum(blocked.length) - blocked.length
    length = blocked.length + np.bincount(kept, minlength=blocked.length.size)
    return Lists(length, {"": Codes(np.insert(codes, start[kept], own), phrases)})


def _short(numbers: F64) -> pa.Array:
    """Return the numbers with four digits; the distinct ones, since pools have few prices."""
    known = pa.array(numbers).dictionary_encode()
    said = list(map("%.4g".__mod__, known.dictionary.to_pylist()))
    return pa.array(said, pa.string()).take(known.indices)


def _alternatives(said: Said, outcome: Outcome) -> Lists:
    known = outcome.other_offer >= 0
    offer = outcome.other_offer[known]
    fields = {**said.other.at(offer), "score": pa.array(outcome.other_score[known])}
    return Lists(known.sum(axis=1), {f.name: fields[f.name] for f in ALTERNATIVE_TYPE})


def _blocked_by(
    c: Columns, fleet: Fleet, left: Supply, refused: NDArray[np.int64], at: I32, effort: F64
) -> Lists:
    """Constraints that stood in the way, least effort first; empty lists for served requests."""
    order = np.argsort(np.where(at >= 0, effort, np.inf), axis=1, kind="stable")
    row, rank = np.nonzero(np.take_along_axis(at, order, axis=1) >= 0)
    which = order[row, rank]
    offer = at[row, which].astype(np.int64)
    # A phrase depends on constraint and offer alone, but for a budget, where it is the request's.
    own = np.where(which == pairs.BUDGET, refused[row] + 1, 0)
    key = (own * pairs.N_CONSTRAINTS + which) * max(fleet.offers, 1) + offer
    _, first, index = np.unique(key, return_index=True, return_inverse=True)
    phrases = [
        _phrase(c, fleet, left, int(refused[row[x]]), int(which[x]), int(offer[x])) for x in first
    ]
    length = np.bincount(refused[row], minlength=c.priority.size)
    return Lists(length, {"": Codes(index.astype(np.int32), _texts(phrases))})


def _phrase(c: Columns, fleet: Fleet, left: Supply, request: int, which: int, offer: int) -> str:
    """Constraint, the value that would have worked, and where: `max_price 2.20 at vast`.

    Rounded so that the value said would really have worked: capacity down, budget up.
    """
    provider = fleet.provider_ids[fleet.offer_provider[offer]]
    value = _would_have_worked(c, fleet, left, request, which, offer)
    return f"{CONSTRAINTS[which]} {value} at {provider}"


def _would_have_worked(
    c: Columns, fleet: Fleet, left: Supply, request: int, which: int, offer: int
) -> str:
    match which:
        case pairs.GPU:
            return str(fleet.gpu_types[fleet.offer_gpu[offer]])
        case pairs.REGION:
            return fleet.offer_regions[offer][0]
        case pairs.PRICE:
            return exact(float(fleet.offer_price[offer]), ".2f")
        case pairs.LATENCY:
            return f"{fleet.offer_latency_ms[offer]:.10g}"
        case pairs.REPUTATION:
            return f"{fleet.offer_reputation[offer]:.10g}"
        case pairs.CAPACITY:
            room = float(left.left[fleet.offer_pool[offer]])
            return f"{math.floor(room * 1e3) / 1e3:.10g}"
    cost = float(fleet.offer_price[offer]) * float(c.requests.hours[request])
    return f"{math.ceil(min(cost, 1e15) * 100) / 100:.2f}"
