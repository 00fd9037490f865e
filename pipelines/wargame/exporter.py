"""The war game's metrics for Prometheus, on loopback (spec, section 7)."""

from threading import Lock
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from aurora_batch.fleet import Fleet
from aurora_batch.wargame.game import Stage
from pipelines.wargame.account import Account

PORT = 9110
TREATY = "SIM-AGG"  # the whole market as one treaty


class Exporter:
    """Metrics of the step played last, for one player."""

    def __init__(self, player: str, base: Fleet) -> None:
        self.registry = CollectorRegistry()
        self._player, self._base = player, base
        self._lock = Lock()
        self._step: int | None = None  # played last
        of_treaty, of_provider = ["treaty_id"], ["provider_id"]
        self._fill = self._gauge("treaty_fill_rate", "Share of the requests routed", of_treaty)
        self._rtt = self._gauge("treaty_rtt_ms", "Mean latency of the routed", of_treaty)
        self._hours = Counter(
            "gpu_hours_total", "GPU-hours routed so far", of_treaty, registry=self.registry
        )
        self._latency = self._gauge("provider_latency_ms", "Latency, fastest offer", of_provider)
        self._reputation = self._gauge("provider_reputation", "Reputation, 0..100", of_provider)
        self._hours.labels(TREATY)

    def note(self, stage: Stage) -> None:
        """Take in a step; a scrape sees all of it or nothing."""
        with self._lock:
            self._note(stage)

    def expose(self) -> bytes:
        """Return everything in Prometheus' text format."""
        with self._lock:
            return generate_latest(self.registry)

    def health(self) -> dict[str, Any]:
        """Return what `/health` says."""
        return {"live": True, "step": self._step}

    def _note(self, stage: Stage) -> None:
        self._step = stage.step
        account = Account.of(self._player, [stage], self._base)
        ended = int(account.total[0]) - int(stage.turns[self._player].waits.sum())
        self._fill.labels(TREATY).set(int(account.routed[0]) / ended if ended else 1.0)
        if account.routed[0]:
            self._rtt.labels(TREATY).set(float(account.mean_latency[0]))
        self._hours.labels(TREATY).inc(float(account.gpu_hours[0]))
        fleet = stage.fleet
        for index, provider in enumerate(fleet.provider_ids):
            own = fleet.offer_provider == index
            self._latency.labels(provider).set(float(np.min(fleet.offer_latency_ms[own])))
            self._reputation.labels(provider).set(float(np.max(fleet.offer_reputation[own])))

    def _gauge(self, name: str, text: str, labels: list[str]) -> Gauge:
        return Gauge(name, text, labels, registry=self.registry)
