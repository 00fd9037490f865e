"""What a replay adds up for each contestant: in all and per window, never per request."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch.hindsight import regret
from aurora_batch.ledger import NO_WINDOW
from aurora_batch.model import Status
from aurora_batch.router import BatchRecord
from pipelines.served import Served

F64 = NDArray[np.float64]


@dataclass
class Window:
    """Sums over one window."""

    requests: int = 0
    routed: int = 0
    late: int = 0
    value: float = 0.0
    bound: float = 0.0  # sum over the batches, each given what was left when it came
    value_in_window: float = float("nan")  # at the scores of the window's start; NaN: not judged
    hindsight_bound: float = float("nan")  # had all requests been known then
    cost_usd: float = 0.0
    pool_prices: F64 = field(default_factory=lambda: np.zeros(0))  # of the largest batch
    largest: int = -1  # requests of that batch


@dataclass
class Figures:
    """One contestant's sums; `add_batch`, `add_decisions` and `judge` see everything once."""

    requests: int = 0  # rows of the log, rejected ones too
    routed: int = 0
    cost_usd: float = 0.0
    price_sum: float = 0.0
    latency_sum: float = 0.0
    seconds: float = 0.0  # spent deciding
    providers: Counter[str] = field(default_factory=Counter)
    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    prices: Counter[float] = field(default_factory=Counter)
    latencies: Counter[float] = field(default_factory=Counter)
    windows: dict[int, Window] = field(default_factory=dict)
    served: Served = field(default_factory=Served)

    def add_batch(self, record: BatchRecord, bound: float, seconds: float) -> None:
        """Count a batch; `bound` is no less than the value of any allocation of it."""
        window = self.windows.setdefault(record.window_us, Window())
        window.requests += record.requests
        window.routed += record.served
        window.late += record.late
        window.value += record.value
        window.bound += bound
        self.seconds += seconds
        if record.requests > window.largest:
            window.largest, window.pool_prices = record.requests, record.pool_prices

    def judge(self, window_us: int, value: float, bound: float) -> None:
        """Note what a window that is over was worth, and could have been (`Hindsight`)."""
        window = self.windows[window_us]
        window.value_in_window, window.hindsight_bound = value, bound

    def add_decisions(self, decisions: pa.Table, asked: pa.Table) -> None:
        """Count decided requests.

        `asked` holds their `tenant_id`, `gpu_type` and `gpu_hours`, null where rejected unread.
        """
        routed = decisions["provider"].is_valid()
        self.requests += decisions.num_rows
        self.routed += pc.sum(routed).as_py() or 0
        self.cost_usd += _total(decisions["cost_usd"])
        self.price_sum += _total(decisions["price_usd_per_hour"])
        self.latency_sum += _total(decisions["estimated_latency_ms"])
        for counter, name in (
            (self.providers, "provider"),
            (self.statuses, "status"),
            (self.reasons, "reason"),
            (self.prices, "price_usd_per_hour"),
            (self.latencies, "estimated_latency_ms"),
        ):
            _count(counter, decisions[name])
        self._add_costs(decisions)
        if asked["gpu_hours"].null_count:
            read = asked["gpu_hours"].is_valid()
            asked, routed = asked.filter(read), routed.filter(read)
        self.served.add(asked, routed.to_numpy())

    def _add_costs(self, decisions: pa.Table) -> None:
        """Add up what each window cost; rows of one window mostly stand together."""
        window = decisions["window"].cast(pa.int64()).fill_null(NO_WINDOW).to_numpy()
        starts = np.flatnonzero(np.diff(window, prepend=window[:1] - 1))
        if not starts.size:
            return
        costs = np.add.reduceat(decisions["cost_usd"].fill_null(0.0).to_numpy(), starts)
        known, which = np.unique(window[starts], return_inverse=True)
        sums = np.bincount(which, costs)
        for start, usd in zip(known.tolist(), sums.tolist(), strict=True):
            if start != NO_WINDOW:  # a row that was rejected unread has none
                self.windows[start].cost_usd += usd

    @property
    def value(self) -> float:
        """Objective of `global` over the log, at the scores of each batch's start."""
        return sum(w.value for w in self.windows.values())

    @property
    def bound(self) -> float:
        """Sum of the batches' bounds."""
        return sum(w.bound for w in self.windows.values())

    @property
    def bounded(self) -> bool:
        """Whether every batch has a bound."""
        return not np.isnan(self.bound)

    @property
    def late(self) -> int:
        """Requests that came after their window had ended."""
        return sum(w.late for w in self.windows.values())

    @property
    def judged(self) -> bool:
        """Whether every window was."""
        return not any(np.isnan(w.hindsight_bound) for w in self.windows.values())

    @property
    def value_in_window(self) -> float:
        """Objective of `global` over the log, at the scores of each window's start."""
        return sum(w.value_in_window for w in self.windows.values())

    @property
    def hindsight_bound(self) -> float:
        """Sum over the windows of what no allocation of their requests is worth more than."""
        return sum(w.hindsight_bound for w in self.windows.values())

    def to_dict(self) -> dict[str, Any]:
        """Return the object of `aurora replay --json` for one contestant; judged windows only."""
        return {
            "routed": self.routed,
            "fill_rate": self.routed / self.requests if self.requests else None,
            "value": self.value,
            **self._proven(),
            **(self._in_hindsight() if self.judged else {}),
            "cost_usd": self.cost_usd,
            "mean_price_usd_per_hour": self.price_sum / self.routed if self.routed else None,
            "mean_latency_ms": self.latency_sum / self.routed if self.routed else None,
            "providers": dict(self.providers.most_common()),
            "reasons": dict(self.reasons.most_common()),
            "served": self.served.to_dict(),
            "routes_per_second": self.requests / self.seconds if self.seconds else None,
        }

    def lines(self) -> dict[str, str]:
        """Return the headline figures as a person reads them."""
        routed = max(self.routed, 1)
        return {
            "requests": f"{self.requests:,}",
            "routed": f"{self.routed:,}",
            "fill rate": f"{self.routed / max(self.requests, 1):.2%}",
            "value": f"{self.value:,.1f}",
            **(self._bound_lines() if self.bounded else {}),
            **(self._hindsight_lines() if self.judged else {}),
            "cost, USD": f"{self.cost_usd:,.0f}",
            "mean price, USD/h": f"{self.price_sum / routed:.3f}",
            "mean latency, ms": f"{self.latency_sum / routed:.0f}",
            "late": f"{self.late:,}",
            "rejected": f"{self.statuses[Status.REJECTED]:,}",
            "routes/s": f"{self.requests / self.seconds:,.0f}" if self.seconds else "-",
        }

    def _proven(self) -> dict[str, float | None]:
        if not self.bounded:
            return {"bound": None, "gap": None}
        return {"bound": self.bound, "gap": gap(self.value, self.bound)}

    def _bound_lines(self) -> dict[str, str]:
        return {"bound": f"{self.bound:,.1f}", "gap": f"{gap(self.value, self.bound):.3%}"}

    def _in_hindsight(self) -> dict[str, float]:
        return {
            "value_in_window": self.value_in_window,
            "hindsight_bound": self.hindsight_bound,
            "regret": regret(self.value_in_window, self.hindsight_bound),
        }

    def _hindsight_lines(self) -> dict[str, str]:
        return {
            "value in window": f"{self.value_in_window:,.1f}",
            "bound in hindsight": f"{self.hindsight_bound:,.1f}",
            "regret": f"{regret(self.value_in_window, self.hindsight_bound):.3%}",
        }

    def by_window(self) -> list[dict[str, Any]]:
        """Return the objects of `aurora replay --json --windows`, by time."""
        return [
            {
                "window": _time(start),
                "requests": w.requests,
                "routed": w.routed,
                "fill_rate": w.routed / w.requests,
                "value": w.value,
                "value_in_window": w.value_in_window,
                "bound": w.hindsight_bound,
                "regret": regret(w.value_in_window, w.hindsight_bound),
            }
            for start, w in self.windows.items()
        ]


def _time(us: int) -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return moment.isoformat().replace("+00:00", "Z")


def gap(value: float, bound: float) -> float:
    """Return (bound - value) / bound, 0 where the bound is 0 (and so the value)."""
    return (bound - value) / bound if bound else 0.0


def _total(values: pa.ChunkedArray) -> float:
    return float(pc.sum(values).as_py() or 0.0)


def _count(counter: Counter[Any], values: pa.ChunkedArray) -> None:
    """Add how often each value stands there, null apart, by value: so does a tie come out."""
    found = pc.value_counts(values)
    said = zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)
    for value, count in sorted(pair for pair in said if pair[0] is not None):
        counter[value] += count
