"""The documented `greedy` policy as a plain loop, written from spec, section 4, and nothing else.

Shares no code with the product: it reads the same settings and request rows and is what the kernel
must reproduce choice by choice.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

WEIGHT_NAMES = ("price", "latency", "reputation", "availability")


@dataclass
class Offer:
    """One GPU type of one provider, at one price."""

    provider: str
    gpu: str
    pool: str
    price: float
    latency: float
    reputation: float
    regions: tuple[str, ...]


def short_name(gpu: str) -> str:
    """`RTX4090` and `4090` are the same thing, as are `A100` and `a100`."""
    return gpu.lower().removeprefix("rtx")


def offers_of(providers: Mapping[str, Any]) -> tuple[list[Offer], dict[str, float]]:
    """List the offers in the order of the file, and the capacity of each pool."""
    offers, pools = [], {}
    for name, provider in providers.items():
        if not provider.enabled:
            continue
        for gpu, said in provider.base_price_usd_per_hour.items():
            capacity = provider.capacity_gpu_hours_per_step
            pool = name
            if isinstance(capacity, dict):
                pool = f"{name}/{short_name(gpu)}"
                capacity = {short_name(g): c for g, c in capacity.items()}[short_name(gpu)]
            pools[pool] = capacity
            at_prices = (
                [((region,), price) for region, price in said.items()]
                if isinstance(said, dict)
                else [(tuple(provider.regions), said)]
            )
            for regions, price in at_prices:
                offers.append(
                    Offer(
                        name, short_name(gpu), pool, price,
                        provider.base_latency_ms, provider.reputation, regions,
                    )
                )  # fmt: skip
    return offers, pools


def weights_of(request: Mapping[str, Any], tenant: Any, router: Any) -> list[float]:
    """Return the request's weights; what it leaves out is the tenant's, then the router's."""
    stated = request["weights"] or {}
    weights = []
    for name in WEIGHT_NAMES:
        for value in (stated.get(name), tenant and getattr(tenant.weights, name)):
            if value is not None:
                weights.append(value)
                break
        else:
            weights.append(getattr(router.weights, name))
    return weights


def limit_of(request: Mapping[str, Any], tenant: Any, router: Any, name: str) -> float | None:
    """Return the request's limit, else the tenant's, else the router's, else none."""
    for value in (request[name], tenant and getattr(tenant, name), getattr(router.defaults, name)):
        if value is not None:
            return float(value)
    return None


def within(request: Mapping[str, Any], offer: Offer, limits: Mapping[str, float | None]) -> bool:
    """Say whether an offer meets what the request asks for, capacity and budget aside."""
    return (
        offer.gpu in request["gpu_type"].split("|")
        and (
            request["region"] == "global"
            or request["region"] in offer.regions
            or "global" in offer.regions
        )
        and (limits["max_price"] is None or offer.price <= limits["max_price"])
        and (limits["max_latency_ms"] is None or offer.latency <= limits["max_latency_ms"])
        and (limits["min_reputation"] is None or offer.reputation >= limits["min_reputation"])
    )


def greedy(requests: Iterable[Mapping[str, Any]], settings: Any) -> list[tuple[str, str] | None]:
    """Decide the rows of a log in order; returns (provider, GPU type) or None for each."""
    router, tenants = settings.router, settings.tenants
    offers, totals = offers_of(settings.providers)
    window = None
    remaining: dict[str, float] = {}
    budget: dict[str, float] = {}
    choices: list[tuple[str, str] | None] = []
    for request in requests:
        moment: datetime = request["requested_at"]
        arrived = int(moment.timestamp() * 1_000_000 + 0.5) // int(router.window_s * 1_000_000)
        if window is None or arrived > window:
            window = arrived
            remaining = dict(totals)
            budget = {
                name: tenant.budget_usd_per_step
                for name, tenant in tenants.items()
                if tenant.budget_usd_per_step is not None
            }
        tenant_id, hours = request["tenant_id"], request["gpu_hours"]
        tenant = tenants.get(tenant_id)
        w_price, w_latency, w_reputation, w_availability = weights_of(request, tenant, router)
        limits = {
            name: limit_of(request, tenant, router, name)
            for name in ("max_price", "max_latency_ms", "min_reputation")
        }
        feasible = [
            offer
            for offer in offers
            if within(request, offer, limits)
            and remaining[offer.pool] >= hours
            and (tenant_id not in budget or offer.price * hours <= budget[tenant_id])
        ]
        best_price = best_latency = 1.0
        if router.scoring == "normalized" and feasible:
            best_price = min(offer.price for offer in feasible)
            best_latency = min(offer.latency for offer in feasible)
        chosen, chosen_score = None, 0.0
        for offer in feasible:
            score = (
                w_price * best_price / offer.price
                + w_latency * best_latency / offer.latency
                + w_reputation * offer.reputation / 100
                + w_availability * remaining[offer.pool] / totals[offer.pool]
            )
            if chosen is None or score > chosen_score:
                chosen, chosen_score = offer, score
        if chosen is None:
            choices.append(None)
            continue
        remaining[chosen.pool] -= hours
        if tenant_id in budget:
            budget[tenant_id] -= chosen.price * hours
        choices.append((chosen.provider, chosen.gpu))
    return choices
