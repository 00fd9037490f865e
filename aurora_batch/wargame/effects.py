"""The fleet of a step: the base fleet as the events in force change it.

Pools and offers stay in their places whatever happens, so figures of different steps add up by
index. What composes: factors multiply, milliseconds and points add up, one outage is enough.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from aurora_batch.fleet import Fleet
from aurora_batch.model import ANYWHERE
from aurora_batch.wargame.events import Event, Kind

T = TypeVar("T", bound=np.generic)
DOWN = (Kind.OUTAGE, Kind.FLAPPING)
CAPACITY = (Kind.CAPACITY_SURGE, Kind.CAPACITY_LOSS)


def fleet_at(base: Fleet, events: Sequence[Event]) -> Fleet:
    """Return the fleet while `events` are in force; `base` itself where none changes it.

    A region that is lost is served by no offer that lists it (offers for `global` serve from
    elsewhere); an offer with no region left is not active. A provider's pool keeps its size then.
    """
    events = [e for e in events if e.kind is not Kind.DEMAND_SURGE]
    if not events:
        return base
    offers, pools = _hit(base, events, base.offer_provider), _hit(base, events, base.pool_provider)
    kinds = np.array([event.kind for event in events])[:, None]
    sizes = np.array([event.size for event in events])[:, None]

    def factor(hit: NDArray[np.bool_], *of: Kind) -> NDArray[np.float64]:
        return np.asarray(np.prod(np.where(hit & np.isin(kinds, of), sizes, 1.0), axis=0))

    def sum_of(kind: Kind) -> NDArray[np.float64]:
        return np.asarray(np.sum(np.where(offers & (kinds == kind), sizes, 0.0), axis=0))

    regions, serves = _without(base, events)
    down = (offers & np.isin(kinds, DOWN)).any(axis=0)
    listed = np.array([bool(left) for left in regions], np.bool_)
    reputation = base.offer_reputation - sum_of(Kind.REPUTATION_DROP)
    return replace(
        base,
        version=_version(base, events),
        pool_capacity=_frozen(base.pool_capacity * factor(pools, *CAPACITY)),
        offer_price=_frozen(base.offer_price * factor(offers, Kind.PRICE_SPIKE)),
        offer_latency_ms=_frozen(base.offer_latency_ms + sum_of(Kind.LATENCY_SPIKE)),
        offer_reputation=_frozen(np.maximum(reputation, 0.0)),
        offer_active=_frozen(base.offer_active & listed & ~down),
        offer_regions=tuple(
            left or was for left, was in zip(regions, base.offer_regions, strict=True)
        ),
        serves=_frozen(serves),
    )


def _hit(base: Fleet, events: Sequence[Event], provider: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Return whom each event hits, (events, len(provider))."""
    who = np.array([[event.hits(p) for p in base.provider_ids] for event in events], np.bool_)
    return np.asarray(who[:, provider]) if provider.size else np.zeros((len(events), 0), np.bool_)


def _without(
    base: Fleet, events: Sequence[Event]
) -> tuple[list[tuple[str, ...]], NDArray[np.bool_]]:
    """Return each offer's regions that are not lost, and `Fleet.serves` accordingly."""
    lost = {event.target for event in events if event.kind is Kind.REGION_LOSS}
    serves = base.serves.copy()
    for offer, listed in enumerate(base.offer_regions):
        if ANYWHERE not in listed:
            serves[offer, [base.region_code(region) for region in lost]] = False
    return [tuple(r for r in listed if r not in lost) for listed in base.offer_regions], serves


def _frozen(array: NDArray[T]) -> NDArray[T]:
    array.setflags(write=False)
    return array


def _version(base: Fleet, events: Sequence[Event]) -> str:
    said = repr([(e.kind.value, e.target, e.size) for e in events])
    return hashlib.blake2b(f"{base.version} {said}".encode(), digest_size=6).hexdigest()
