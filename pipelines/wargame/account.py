"""What a run adds up to: per step and player, from its decisions; the columns of the outputs.

A tenant pays in USD and burns a credit for every 1.8 of them; a provider is minted the credits that
it asks per GPU-hour. What is waiting for another try is neither routed nor dropped yet; after the
last step it is dropped.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch.facts import USD_PER_CREDIT
from aurora_batch.fleet import Fleet
from aurora_batch.hindsight import chosen
from aurora_batch.wargame.costs import EventCost
from aurora_batch.wargame.game import Plan, Stage
from aurora_batch.wargame.yardstick import Optimum

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Account:
    """One player's run of S steps."""

    name: str
    step: I64  # (n,) of each request decided, n in all
    requests: pa.Table  # n rows
    decisions: pa.Table  # n rows
    offer: NDArray[np.int32]  # (n,) -1 = refused
    hours: F64  # (n,) GPU-hours asked for
    total: I64  # (S,) requests decided
    routed: I64  # (S,)
    waiting: I64  # (S,) refused, with another try
    cost_usd: F64  # (S,)
    latency_ms: F64  # (S,) sum over the routed
    minted: F64  # (S,) credits
    burned: F64  # (S,)
    gpu_hours: F64  # (S,) routed
    value: F64  # (S,)
    optimum: F64  # (S,) of the requests that it decided in the step
    bound: F64  # (S,) of the same

    @classmethod
    def of(cls, name: str, stages: Sequence[Stage], base: Fleet) -> "Account":
        """Add up one player's turns; `base` has the pools and offers of every step."""
        turns = [stage.turns[name] for stage in stages]
        counts = [turn.requests.num_rows for turn in turns]
        step = np.repeat(np.array([stage.step for stage in stages], np.int64), counts)
        requests = pa.concat_tables([turn.requests for turn in turns]).combine_chunks()
        decisions = pa.concat_tables([turn.decisions for turn in turns]).combine_chunks()
        offer = chosen(decisions, base)
        hours = requests["gpu_hours"].to_numpy()
        ok = offer >= 0
        first = stages[0].step if stages else 0

        def by_step(of_each: F64 | None = None) -> F64:
            weights = None if of_each is None else of_each[ok]
            sums = np.bincount(step[ok] - first, weights, minlength=len(stages))
            return np.asarray(sums, np.float64)

        cost = _numbers(decisions, "cost_usd")
        coins = np.append(np.nan_to_num(base.offer_credits), 0.0)[offer] * hours
        waiting = np.array([int(turn.waits.sum()) for turn in turns], np.int64)
        waiting[-1:] = 0
        return cls(
            name, step, requests, decisions, offer, hours,
            total=np.array(counts, np.int64),
            routed=by_step().astype(np.int64),
            waiting=waiting,
            cost_usd=by_step(cost),
            latency_ms=by_step(_numbers(decisions, "estimated_latency_ms")),
            minted=by_step(coins),
            burned=by_step(cost / USD_PER_CREDIT),
            gpu_hours=by_step(hours),
            value=np.array([turn.value for turn in turns]),
            optimum=np.array([turn.optimum.value for turn in turns]),
            bound=np.array([turn.optimum.bound for turn in turns]),
        )  # fmt: skip

    @property
    def dropped(self) -> I64:
        """Refused for good, (S,)."""
        return self.total - self.routed - self.waiting

    @property
    def fill(self) -> F64:
        """Routed of those that were routed or dropped, (S,); 1 where there were none."""
        ended = self.routed + self.dropped
        return np.asarray(np.divide(self.routed, ended, out=np.ones(ended.size), where=ended > 0))

    @property
    def fill_rate(self) -> float:
        """The same over the run."""
        ended = int(self.routed.sum() + self.dropped.sum())
        return float(self.routed.sum()) / ended if ended else 1.0

    @property
    def mean_cost(self) -> F64:
        """USD per routed request, (S,); NaN where none was."""
        return _per(self.cost_usd, self.routed)

    @property
    def mean_latency(self) -> F64:
        """Milliseconds per routed request, (S,); NaN where none was."""
        return _per(self.latency_ms, self.routed)


@dataclass(frozen=True)
class Run:
    """A run that is over: its steps, the players' accounts and what it could have been worth."""

    plan: Plan
    stages: Sequence[Stage]
    base: Fleet
    accounts: Sequence[Account]
    whole: Optimum  # of the run, known in advance
    asked: float  # GPU-hours, as a share of what the configured fleet holds in all steps
    costs: Sequence[EventCost] = ()


def regrets(value: F64, optimum: F64) -> F64:
    """Return (optimum - value) / optimum, 0 where the optimum is 0; same shapes."""
    lost = np.divide(optimum - value, optimum, out=np.zeros(value.size), where=optimum > 0)
    return np.asarray(lost, np.float64)


def _per(total: F64, count: I64) -> F64:
    mean = np.divide(total, count, out=np.full(total.size, np.nan), where=count > 0)
    return np.asarray(mean, np.float64)


def _numbers(table: pa.Table, name: str) -> F64:
    return np.asarray(table[name].fill_null(0.0).to_numpy(), np.float64)
