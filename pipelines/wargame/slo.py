"""Service levels of the providers over a run, and what the events cost, as tables."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from aurora_batch.wargame.costs import EventCost
from aurora_batch.wargame.events import EVERYONE, RULES, down_spells
from pipelines.wargame.account import Run
from pipelines.wargame.tables import ProviderStates


@dataclass(frozen=True)
class ServiceLevel:
    """One provider, and what its events cost one player."""

    provider: str
    player: str
    uptime: float  # share of the steps in which it sold anything
    outages: int  # spells in which it did not
    recovery_steps: float  # mean length of those that ended within the run; NaN where none did
    utilisation: float  # GPU-hours sold / GPU-hours for sale while it was up
    events: int  # that named it
    value_lost_share: float  # mean over these events, of the value without the event


def service_levels(run: Run) -> Iterator[ServiceLevel]:
    """Yield the providers in the order of the fleet, for each player."""
    states = ProviderStates.of(run.stages, run.base)
    sold = np.where(states.active, states.capacity, 0.0).sum(axis=0)
    for account in run.accounts:
        used = np.zeros(len(run.base.provider_ids))
        for stage in run.stages:
            np.add.at(used, run.base.pool_provider, stage.turns[account.name].pool_used)
        for index, provider in enumerate(run.base.provider_ids):
            up = states.active[:, index]
            spells = list(down_spells(up.tolist()))
            ended = [length for first, length in spells if first + length < len(run.stages)]
            costs = [c.share for c in run.costs if _is_of(c, provider, account.name)]
            yield ServiceLevel(
                provider, account.name,
                uptime=float(up.mean()) if up.size else 1.0,
                outages=len(spells),
                recovery_steps=float(np.mean(ended)) if ended else float("nan"),
                utilisation=float(used[index] / sold[index]) if sold[index] else 0.0,
                events=len(costs),
                value_lost_share=float(np.mean(costs)) if costs else 0.0,
            )  # fmt: skip


def _is_of(cost: EventCost, provider: str, player: str) -> bool:
    event = cost.event
    named = RULES[event.kind].target == "provider" and event.target in (provider, EVERYONE)
    return named and cost.player == player


def slo_table(run: Run) -> pa.Table:
    """Return `service_levels` as a table; null where there was no recovery."""
    rows = list(service_levels(run))
    return pa.table(
        {
            "provider": pa.array([r.provider for r in rows], pa.string()),
            "uptime": pa.array([r.uptime for r in rows], pa.float64()),
            "outages": pa.array([r.outages for r in rows], pa.int64()),
            "mean_steps_to_recovery": pa.array(
                [r.recovery_steps for r in rows], pa.float64(), from_pandas=True
            ),
            "utilisation": pa.array([r.utilisation for r in rows], pa.float64()),
            "events": pa.array([r.events for r in rows], pa.int64()),
            "value_lost_share_per_event": pa.array(
                [r.value_lost_share for r in rows], pa.float64()
            ),
            "policy": pa.array([r.player for r in rows], pa.string()),
        }
    )


def cost_table(costs: Sequence[EventCost]) -> pa.Table:
    """Return the cost of each event to each player; losses are positive."""
    return pa.table(
        {
            "event": pa.array([str(c.event.kind) for c in costs], pa.string()),
            "target": pa.array([c.event.target for c in costs], pa.string()),
            "step": pa.array([c.event.step for c in costs], pa.int64()),
            "duration": pa.array([c.event.duration for c in costs], pa.int64()),
            "size": pa.array([c.event.size for c in costs], pa.float64()),
            "requests": pa.array([c.requests for c in costs], pa.int64()),
            "extra_usd": pa.array([c.extra_usd for c in costs], pa.float64()),
            "fill_lost": pa.array([c.fill_lost for c in costs], pa.float64()),
            "value_lost": pa.array([c.value for c in costs], pa.float64()),
            "value_lost_share": pa.array([c.share for c in costs], pa.float64()),
            "policy": pa.array([c.player for c in costs], pa.string()),
        }
    )
