"""Providers as an immutable column snapshot of offers and pools, with a version.

An offer is one provider's GPU type at one price; a pool is capacity that offers draw on: one for
the provider, or one for each GPU type where its capacity is given by type. Offers come in the order
of the file, which is what ties are broken by.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from aurora_batch.configuration import providers_only
from aurora_batch.facts import PROVIDERS
from aurora_batch.model import ANY_OF, ANYWHERE, normalize_gpu
from aurora_batch.settings import ProviderSettings

T = TypeVar("T", bound=np.generic)


@dataclass(frozen=True, eq=False)
class Fleet:
    """What is for sale: m offers on k pools. Arrays are read-only."""

    version: str
    provider_ids: tuple[str, ...]
    pool_ids: tuple[str, ...]
    pool_provider: NDArray[np.int32]  # (k,) index into provider_ids
    pool_capacity: NDArray[np.float64]  # (k,) GPU-hours per window
    gpu_types: tuple[str, ...]
    regions: tuple[str, ...]  # every named region that some offer serves
    offer_provider: NDArray[np.int32]  # (m,)
    offer_gpu: NDArray[np.int32]  # (m,) index into gpu_types
    offer_pool: NDArray[np.int32]  # (m,)
    offer_price: NDArray[np.float64]  # (m,) USD per hour
    offer_latency_ms: NDArray[np.float64]  # (m,)
    offer_reputation: NDArray[np.float64]  # (m,) 0..100
    offer_credits: NDArray[np.float64]  # (m,) credits per hour, NaN where not said
    offer_active: NDArray[np.bool_]  # (m,)
    offer_regions: tuple[tuple[str, ...], ...]  # as listed; may hold "global"
    serves: NDArray[np.bool_]  # (m, len(regions) + 1); last column: any region not listed

    @property
    def offers(self) -> int:
        """Number of offers."""
        return int(self.offer_price.size)

    def region_code(self, region: str) -> int:
        """Column of `serves` for a named region; the last one where no offer lists it."""
        return self.regions.index(region) if region in self.regions else len(self.regions)

    def region_match(self, region: str) -> NDArray[np.bool_]:
        """Which offers may serve a request for `region`, shape (m,)."""
        if region == ANYWHERE:
            return np.ones(self.offers, np.bool_)
        return np.asarray(self.serves[:, self.region_code(region)])

    def gpu_match(self, gpu_types: str) -> NDArray[np.bool_]:
        """Which offers sell one of the GPU types of a request (`a100|h100`), shape (m,)."""
        wanted = set(gpu_types.split(ANY_OF))
        known = np.array([g in wanted for g in self.gpu_types], np.bool_)
        return known[self.offer_gpu] if self.offers else np.zeros(0, np.bool_)


@dataclass(frozen=True)
class _Offer:
    provider: int
    gpu: str
    pool: int
    price: float
    regions: tuple[str, ...]


def fleet_from_settings(providers: Mapping[str, ProviderSettings]) -> Fleet:
    """Return the snapshot of the enabled providers, in the order of the mapping."""
    enabled = {pid: p for pid, p in providers.items() if p.enabled}
    pools: dict[str, tuple[int, float]] = {}
    offers: list[_Offer] = []
    for index, (pid, provider) in enumerate(enabled.items()):
        capacity = provider.capacity_gpu_hours_per_step
        by_gpu = (
            {normalize_gpu(g): c for g, c in capacity.items()}
            if isinstance(capacity, dict)
            else None
        )
        if by_gpu is None:
            assert not isinstance(capacity, dict)
            pools[pid] = (index, capacity)
        for name, price in provider.base_price_usd_per_hour.items():
            gpu = normalize_gpu(name)
            pool_id = pid if by_gpu is None else f"{pid}/{gpu}"
            if by_gpu is not None:
                pools[pool_id] = (index, by_gpu[gpu])
            pool = list(pools).index(pool_id)
            for regions, usd in _prices(price, tuple(provider.regions)):
                offers.append(_Offer(index, gpu, pool, usd, regions))
    return _columns(enabled, pools, offers)


def _prices(
    price: float | Mapping[str, float], regions: tuple[str, ...]
) -> Iterable[tuple[tuple[str, ...], float]]:
    """Yield (regions, USD per hour): one offer, or one for each region that has its own price."""
    if isinstance(price, Mapping):
        for region, usd in price.items():
            yield (region,), usd
    else:
        yield regions, price


def _columns(
    providers: Mapping[str, ProviderSettings],
    pools: Mapping[str, tuple[int, float]],
    offers: Sequence[_Offer],
) -> Fleet:
    settings = list(providers.values())
    gpu_types = tuple(dict.fromkeys(o.gpu for o in offers))
    regions = tuple(dict.fromkeys(r for o in offers for r in o.regions if r != ANYWHERE))
    serves = np.array(
        [[r in o.regions or ANYWHERE in o.regions for r in (*regions, ANYWHERE)] for o in offers],
        np.bool_,
    ).reshape(len(offers), len(regions) + 1)
    credit_rates = [{normalize_gpu(g): c for g, c in p.credits_per_hour.items()} for p in settings]
    return Fleet(
        version=_version(providers),
        provider_ids=tuple(providers),
        pool_ids=tuple(pools),
        pool_provider=_frozen([p for p, _ in pools.values()], np.int32),
        pool_capacity=_frozen([c for _, c in pools.values()], np.float64),
        gpu_types=gpu_types,
        regions=regions,
        offer_provider=_frozen([o.provider for o in offers], np.int32),
        offer_gpu=_frozen([gpu_types.index(o.gpu) for o in offers], np.int32),
        offer_pool=_frozen([o.pool for o in offers], np.int32),
        offer_price=_frozen([o.price for o in offers], np.float64),
        offer_latency_ms=_frozen(
            [settings[o.provider].base_latency_ms for o in offers], np.float64
        ),
        offer_reputation=_frozen([settings[o.provider].reputation for o in offers], np.float64),
        offer_credits=_frozen(
            [credit_rates[o.provider].get(o.gpu, np.nan) for o in offers], np.float64
        ),
        offer_active=_frozen([True] * len(offers), np.bool_),
        offer_regions=tuple(o.regions for o in offers),
        serves=_frozen(serves, np.bool_),
    )


def _frozen(values: object, dtype: type[T]) -> NDArray[T]:
    array: NDArray[T] = np.array(values, dtype)
    array.setflags(write=False)
    return array


def _version(providers: Mapping[str, ProviderSettings]) -> str:
    """Short content hash: the same providers have the same version everywhere."""
    return hashlib.blake2b(msgspec.json.encode(dict(providers)), digest_size=6).hexdigest()


def default_fleet() -> Fleet:
    """Return the built-in seven providers (spec, section 5)."""
    return fleet_from_settings(PROVIDERS)


def load_fleet(path: str | Path) -> Fleet:
    """Return the fleet of a `providers.yaml`; raises `SettingsError` where it is wrong."""
    return fleet_from_settings(providers_only(Path(path)))
