"""Tables of a run: a row a step, a request, or a provider in a step, by player."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
from numpy.typing import NDArray

from aurora_batch.adapters.outputs import replacing
from aurora_batch.fleet import Fleet
from aurora_batch.wargame.game import Stage
from pipelines.wargame.account import Account, Run, regrets

F64 = NDArray[np.float64]


def step_metrics(run: Run) -> pa.Table:
    """Return a row for each player's step; averages are null where nothing was routed."""
    return _stacked(run, lambda a: {
        "step": pa.array([stage.step for stage in run.stages], pa.int64()),
        "total_requests": pa.array(a.total),
        "routed": pa.array(a.routed),
        "dropped": pa.array(a.dropped),
        "fill_rate": pa.array(a.fill),
        "avg_cost_usd_per_request": pa.array(a.mean_cost, from_pandas=True),
        "avg_latency_ms": pa.array(a.mean_latency, from_pandas=True),
        "credits_minted": pa.array(a.minted),
        "credits_burned": pa.array(a.burned),
        "value": pa.array(a.value),
        "bound": pa.array(a.bound),
        "gap": pa.array(regrets(a.value, a.bound)),
        "regret": pa.array(regrets(a.value, a.optimum)),
        "waiting": pa.array(a.waiting),
    })  # fmt: skip


def routing_decisions(run: Run) -> pa.Table:
    """Return a row for each request that a player decided."""
    return _stacked(run, lambda a: {
        "step": pa.array(a.step),
        "request_id": a.requests["request_id"],
        "tenant": a.requests["tenant_id"],
        "workload": a.requests["workload_type"],
        "gpu": a.requests["gpu_type"],
        "hours": pa.array(a.hours),
        "provider": a.decisions["provider"],
        "accepted": pa.array(a.offer >= 0),
        "price_usd_per_hour": a.decisions["price_usd_per_hour"],
        "latency_ms": a.decisions["estimated_latency_ms"],
        "reason": a.decisions["reason"],
    })  # fmt: skip


def provider_metrics(run: Run) -> pa.Table:
    """Return a row for each provider in each step of each player.

    Price and latency are those of its cheapest and its fastest offer, the shadow price (value per
    GPU-hour) that of its dearest pool; utilisation is a share of the capacity that is sold.
    """
    return _stacked(run, lambda a: _of_providers(run.stages, run.base, a))


def _of_providers(stages: Sequence[Stage], base: Fleet, a: Account) -> dict[str, pa.Array]:
    count, steps = len(base.provider_ids), len(stages)
    state = ProviderStates.of(stages, base)
    used = np.zeros((steps, count))
    price = np.zeros((steps, count))
    for row, stage in enumerate(stages):
        turn = stage.turns[a.name]
        np.add.at(used[row], base.pool_provider, turn.pool_used)
        np.maximum.at(price[row], base.pool_provider, turn.pool_prices)
    capacity = state.capacity
    share = np.divide(used, capacity, out=np.zeros_like(used), where=capacity > 0)
    return {
        "step": pa.array(np.repeat([s.step for s in stages], count)),
        "provider": pa.array(list(base.provider_ids) * steps, pa.string()),
        "active": pa.array(state.active.ravel()),
        "capacity_gpu_hours": pa.array(capacity.ravel()),
        "latency_ms": pa.array(state.latency_ms.ravel()),
        "price_usd_per_hour": pa.array(state.price.ravel()),
        "reputation": pa.array(state.reputation.ravel()),
        "utilisation": pa.array(share.ravel()),
        "shadow_price": pa.array(price.ravel()),
    }


class ProviderStates:
    """Providers as they were, each (steps, providers)."""

    def __init__(self, steps: int, providers: int) -> None:
        shape = (steps, providers)
        self.active, self.capacity = np.zeros(shape, np.bool_), np.zeros(shape)
        self.latency_ms, self.price = np.full(shape, np.inf), np.full(shape, np.inf)
        self.reputation = np.zeros(shape)

    @classmethod
    def of(cls, stages: Sequence[Stage], base: Fleet) -> "ProviderStates":
        """Read them off each step's fleet."""
        states = cls(len(stages), len(base.provider_ids))
        own = base.offer_provider
        for row, stage in enumerate(stages):
            fleet = stage.fleet
            np.logical_or.at(states.active[row], own, fleet.offer_active)
            np.add.at(states.capacity[row], base.pool_provider, fleet.pool_capacity)
            np.minimum.at(states.latency_ms[row], own, fleet.offer_latency_ms)
            np.minimum.at(states.price[row], own, fleet.offer_price)
            np.maximum.at(states.reputation[row], own, fleet.offer_reputation)
        states.active &= states.capacity > 0
        return states


def _stacked(run: Run, columns: Callable[[Account], dict[str, pa.Array]]) -> pa.Table:
    """Return the players' tables one below the other; the last column names the player."""
    parts = []
    for account in run.accounts:
        table = pa.table(columns(account))
        parts.append(table.append_column("policy", pa.repeat(account.name, table.num_rows)))
    return pa.concat_tables(parts)


def write(table: pa.Table, path: Path) -> None:
    """Write a CSV file into a folder that exists."""
    with replacing(path) as partial:
        options = pyarrow.csv.WriteOptions(quoting_style="needed")
        pyarrow.csv.write_csv(table, str(partial), options)
