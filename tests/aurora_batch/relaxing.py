"""Takes a remedy at its word: the same batch again, with that one thing relaxed."""

import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec.structs import replace as changed

from aurora_batch import router
from aurora_batch.fleet import Fleet, fleet_from_settings
from aurora_batch.model import Policy, Scoring
from aurora_batch.schema import REQUEST_SCHEMA
from aurora_batch.settings import (
    ProviderSettings,
    RouterSettings,
    Settings,
    SolverSettings,
    TenantSettings,
)
from tests.requests import table

LIMIT = re.compile(r"(?:raise|lower) (\w+) to (\S+): (\S+)")
WISH = re.compile(r"accept (\S+): (\S+)")
SHORT = re.compile(r"(capacity|budget): (\S+) (?:GPU-h|USD) short at (\S+)")
GPUS, REGIONS = ("a100", "h100"), ("eu", "us")


@dataclass(frozen=True)
class Case:
    """A batch, the first of its window, and all that decides it."""

    requests: pa.Table
    providers: dict[str, ProviderSettings]
    settings: Settings
    policy: Policy = Policy.GLOBAL

    @property
    def fleet(self) -> Fleet:
        """What is for sale."""
        return fleet_from_settings(self.providers)

    def decide(self) -> router.Step:
        """Decide it from a fresh state."""
        fleet = self.fleet
        state = router.initial_state(fleet, self.settings)
        return router.step(self.requests, fleet, state, self.settings, policy=self.policy)

    def relaxed(self, index: int, remedy: str) -> "Case":
        """Return the case in which the remedy of request `index` is taken, and nothing else."""
        if said := LIMIT.fullmatch(remedy):
            return self._asking(index, {said[1]: float(said[2])})
        if said := WISH.fullmatch(remedy):
            if said[1] not in self.fleet.gpu_types:
                return self._asking(index, {"region": said[1]})
            own = self.requests["gpu_type"][index].as_py()
            return self._asking(index, {"gpu_type": f"{own}|{said[1]}"})
        said = SHORT.fullmatch(remedy)
        assert said is not None, remedy
        if said[1] == "budget":
            return self._richer(self.requests["tenant_id"][index].as_py(), float(said[2]))
        return self._larger(said[3], float(said[2]))

    def _asking(self, index: int, fields: dict[str, Any]) -> "Case":
        rows = self.requests.to_pylist()
        rows[index] |= fields
        return replace(self, requests=pa.Table.from_pylist(rows, schema=REQUEST_SCHEMA))

    def _richer(self, tenant: str, usd: float) -> "Case":
        own = self.settings.tenants[tenant]
        assert own.budget_usd_per_step is not None
        own = changed(own, budget_usd_per_step=own.budget_usd_per_step + usd)
        tenants = {**self.settings.tenants, tenant: own}
        return replace(self, settings=changed(self.settings, tenants=tenants))

    def _larger(self, provider: str, hours: float) -> "Case":
        own = self.providers[provider]
        assert not isinstance(own.capacity_gpu_hours_per_step, dict)
        own = changed(own, capacity_gpu_hours_per_step=own.capacity_gpu_hours_per_step + hours)
        return replace(self, providers={**self.providers, provider: own})


def settings_of(
    scoring: Scoring = Scoring.DOCUMENTED, tenants: dict[str, float] | None = None
) -> Settings:
    """Settings that solve to the optimum, with tenants' budgets in USD."""
    return Settings(
        router=RouterSettings(
            scoring=scoring, solver=SolverSettings(target_gap=0.0, deadline_ms=1000.0)
        ),
        tenants={t: TenantSettings(budget_usd_per_step=usd) for t, usd in (tenants or {}).items()},
    )


def random_case(
    seed: int, policy: Policy, scoring: Scoring, load: float, n: int = 14, sellers: int = 5
) -> Case:
    """Return n requests of about `load` x what there is, with limits, wishes and two budgets."""
    rng = np.random.default_rng(seed)
    hours = np.round(rng.lognormal(0.0, 0.6, n), 2) + 0.01
    share = rng.dirichlet(np.full(sellers, 3.0)) * hours.sum() / load
    providers = {
        f"p{i}": ProviderSettings(
            base_price_usd_per_hour={str(rng.choice(GPUS)): round(rng.uniform(0.5, 4), 3)},
            base_latency_ms=round(rng.uniform(50, 400), 1),
            capacity_gpu_hours_per_step=round(float(share[i]), 2) + 0.01,
            reputation=round(rng.uniform(40, 95), 1),
            regions=[str(r) for r in rng.permutation(REGIONS)[: rng.integers(1, 3)]],
        )
        for i in range(sellers)
    }
    rows = [
        {
            "tenant_id": [None, None, "rich", "poor"][rng.integers(4)],
            "gpu_type": str(rng.choice(GPUS)),
            "region": str(rng.choice([*REGIONS, "global"])),
            "gpu_hours": float(hours[i]),
            "max_price": [None, round(rng.uniform(1, 4), 2)][rng.integers(2)],
            "max_latency_ms": [None, round(rng.uniform(100, 400))][rng.integers(2)],
            "min_reputation": [None, float(rng.integers(40, 90))][rng.integers(2)],
            "priority": float(rng.choice([0.5, 1.0, 2.0])),
        }
        for i in range(n)
    ]
    budgets = {"rich": 20.0, "poor": 4.0}
    return Case(table(rows), providers, settings_of(scoring, budgets), policy)
