"""The documented `greedy` policy, one request at a time, in plain Python.

Offers that can serve a kind of request are found once and kept, as anybody would do who cares for
speed; limits, what is left and scores are looked at for each request.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple

Request = Mapping[str, Any]
DAY_S = 86_400.0


class Offer(NamedTuple):
    """One GPU type of one provider."""

    provider: str
    gpu: str
    pool: str
    price: float
    latency: float
    reputation: float
    regions: tuple[str, ...]


class Greedy:
    """Decides requests in order; remembers what is left in the window.

    Parameters
    ----------
    providers, router
        As in `providers.yaml` and `router.yaml`, plain.
    """

    def __init__(self, providers: Mapping[str, Any], router: Mapping[str, Any]) -> None:
        self._offers = list(_offers(providers))
        self._total = dict(_pools(providers))
        self._left = dict(self._total)
        self._weights = router["weights"]
        self._window_s = float(router["window_s"])
        self._window = -1
        self._fitting: dict[tuple[str, str], list[Offer]] = {}

    def decide(self, request: Request) -> dict[str, Any]:
        """Return the decision."""
        self._enter(request["requested_at"])
        hours = request["gpu_hours"]
        most, slowest = request.get("max_price"), request.get("max_latency_ms")
        least = request.get("min_reputation")
        stated = request.get("weights")
        weights = self._weights if stated is None else {**self._weights, **stated}
        w_price, w_latency = weights["price"], weights["latency"]
        w_reputation, w_availability = weights["reputation"], weights["availability"]
        best: Offer | None = None
        best_score = 0.0
        full = False
        for offer in self._offers_for(request["gpu_type"], request.get("region") or "global"):
            if most is not None and offer.price > most:
                continue
            if slowest is not None and offer.latency > slowest:
                continue
            if least is not None and offer.reputation < least:
                continue
            left = self._left[offer.pool]
            if left < hours:
                full = True
                continue
            score = (
                w_price / offer.price + w_latency / offer.latency
                + w_reputation * offer.reputation / 100
                + w_availability * left / self._total[offer.pool]
            )  # fmt: skip
            if best is None or score > best_score:
                best, best_score = offer, score
        if best is None:
            reason = "no_capacity" if full else "no_viable_provider"
            status = "no_capacity" if full else "rejected"
            return {"request_id": request["request_id"], "status": status, "reason": reason}
        self._left[best.pool] -= hours
        return {
            "request_id": request["request_id"], "status": "provisioning",
            "provider": best.provider, "gpu_type": best.gpu, "region": request.get("region"),
            "price_usd_per_hour": best.price, "estimated_latency_ms": best.latency,
            "score": best_score, "cost_usd": best.price * hours, "reason": "ok",
        }  # fmt: skip

    def _enter(self, moment: str) -> None:
        """Make all pools whole where a later window begins."""
        window = int(datetime.fromisoformat(moment).timestamp() // self._window_s)
        if window > self._window:
            self._window = window
            self._left = dict(self._total)

    def _offers_for(self, gpus: str | list[str], region: str) -> list[Offer]:
        """Return the offers of a GPU type, or several, that serve a region, as listed."""
        key = (gpus if isinstance(gpus, str) else "|".join(gpus), region)
        found = self._fitting.get(key)
        if found is None:
            asked = {_short(gpu) for gpu in key[0].split("|")}
            found = [
                o for o in self._offers
                if o.gpu in asked
                and (region == "global" or region in o.regions or "global" in o.regions)
            ]  # fmt: skip
            self._fitting[key] = found
        return found


def _short(gpu: str) -> str:
    return gpu.lower().removeprefix("nvidia ").removeprefix("rtx")


def _offers(providers: Mapping[str, Any]) -> "list[Offer]":
    offers = []
    for name, said in providers.items():
        for gpu, price in said["base_price_usd_per_hour"].items():
            offers.append(
                Offer(
                    name, _short(gpu), name, float(price), float(said["base_latency_ms"]),
                    float(said["reputation"]), tuple(said["regions"]),
                )
            )  # fmt: skip
    return offers


def _pools(providers: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(said["capacity_gpu_hours_per_step"]) for name, said in providers.items()}
