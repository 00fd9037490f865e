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


def fleet_at(base: Fleet, events: Sequence[Event]) -> Fleet:
    """Return the fleet while `events` are in force; `base` itself where none changes it.

    A region that is lost is served by no offer that lists it (offers for `global` serve from
    elsewhere); an offer with no region left is not active. A provider's pool keeps its size then.
    """
    events = [e for e in events if e.kind is not Kind.DEMAND_SURGE]
    if not events:
        return base
    price, latency = base.offer_price.copy(), base.offer_latency_ms.copy()
    reputation, active = base.offer_reputation.copy(), base.offer_active.copy()
    capacity, serves = base.pool_capacity.copy(), base.serves.copy()
    regions = list(base.offer_regions)
    for event in events:
        hit = np.array([event.hits(p) for p in base.provider_ids], np.bool_)
        offers, pools = _of(hit, base.offer_provider), _of(hit, base.pool_provider)
        match event.kind:
            case Kind.OUTAGE | Kind.FLAPPING:
                active[offers] = False
            case Kind.PRICE_SPIKE:
                price[offers] *= event.size
            case Kind.LATENCY_SPIKE:
                latency[offers] += event.size
            case Kind.CAPACITY_SURGE | Kind.CAPACITY_LOSS:
                capacity[pools] *= event.size
            case Kind.REPUTATION_DROP:
                reputation[offers] -= event.size
            case Kind.REGION_LOSS:
                _lose(base, event.target, regions, serves)
    np.maximum(reputation, 0.0, out=reputation)
    active &= np.array([bool(left) for left in regions], np.bool_)
    listed = tuple(left or was for left, was in zip(regions, base.offer_regions, strict=True))
    return replace(
        base,
        version=_version(base, events),
        pool_capacity=_frozen(capacity),
        offer_price=_frozen(price),
        offer_latency_ms=_frozen(latency),
        offer_reputation=_frozen(reputation),
        offer_active=_frozen(active),
        offer_regions=listed,
        serves=_frozen(serves),
    )


def _lose(
    base: Fleet, region: str, regions: list[tuple[str, ...]], serves: NDArray[np.bool_]
) -> None:
    """Take a region from the offers that list it; both arguments are changed in place."""
    for offer, listed in enumerate(regions):
        regions[offer] = tuple(r for r in listed if r != region)
        if ANYWHERE not in listed:
            serves[offer, base.region_code(region)] = False


def _of(hit: NDArray[np.bool_], provider: NDArray[np.int32]) -> NDArray[np.bool_]:
    return hit[provider] if provider.size else np.zeros(0, np.bool_)


def _frozen(array: NDArray[T]) -> NDArray[T]:
    array.setflags(write=False)
    return array


def _version(base: Fleet, events: Sequence[Event]) -> str:
    said = repr([(e.kind.value, e.target, e.size) for e in events])
    return hashlib.blake2b(f"{base.version} {said}".encode(), digest_size=6).hexdigest()
