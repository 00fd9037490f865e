"""What a replay adds up for each policy: in all and per window, never per request."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch.model import Status
from aurora_batch.router import BatchRecord

F64 = NDArray[np.float64]

# Job sizes are counted in 40 bins a decade, from 0.0001 to 100,000 GPU-hours.
_SIZE_EDGES = np.logspace(-4, 5, 361)
DECILES = 10


@dataclass
class Window:
    """Sums over one window."""

    requests: int = 0
    routed: int = 0
    late: int = 0
    value: float = 0.0
    bound: float = 0.0  # sum over the batches, each given what was left when it came
    cost_usd: float = 0.0
    pool_prices: F64 = field(default_factory=lambda: np.zeros(0))  # of the largest batch
    largest: int = -1  # requests of that batch


@dataclass
class Figures:
    """One policy's sums over a log; `add_batch` and `add_decisions` see everything once."""

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
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros((2, 360), np.int64))

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

    def add_decisions(self, decisions: pa.Table, hours: F64) -> None:
        """Count decided requests; `hours` (n,) are their GPU-hours, NaN where rejected unread."""
        rows = pl.from_arrow(decisions.drop_columns(["blocked_by", "alternatives", "remedy"]))
        assert isinstance(rows, pl.DataFrame)
        routed = rows.filter(pl.col("status") == Status.PROVISIONING)
        self.requests += rows.height
        self.routed += routed.height
        self.cost_usd += float(routed["cost_usd"].sum())
        self.price_sum += float(routed["price_usd_per_hour"].sum())
        self.latency_sum += float(routed["estimated_latency_ms"].sum())
        for counter, values in (
            (self.providers, routed["provider"]),
            (self.statuses, rows["status"]),
            (self.reasons, rows["reason"]),
            (self.prices, routed["price_usd_per_hour"]),
            (self.latencies, routed["estimated_latency_ms"]),
        ):
            _count(counter, values)
        self._add_costs(routed)
        served = (rows["status"] == Status.PROVISIONING).to_numpy()
        for row, chosen in enumerate((served, ~served & ~np.isnan(hours))):
            self.sizes[row] += np.histogram(hours[chosen].clip(1e-4, 1e5), _SIZE_EDGES)[0]

    def _add_costs(self, routed: pl.DataFrame) -> None:
        by_window = routed.group_by(pl.col("window").dt.epoch("us")).agg(pl.col("cost_usd").sum())
        for start, usd in by_window.iter_rows():
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
    def late(self) -> int:
        """Requests that came after their window had ended."""
        return sum(w.late for w in self.windows.values())

    def deciles(self) -> list[tuple[float, float]]:
        """Return (largest GPU-hours, share routed) of each tenth of the valid requests by size."""
        asked = self.sizes.sum(axis=0)
        cuts = np.searchsorted(np.cumsum(asked), np.arange(1, DECILES + 1) / DECILES * asked.sum())
        shares, low = [], 0
        for cut in np.minimum(cuts, asked.size - 1).tolist():
            if cut >= low and asked[low : cut + 1].sum():
                part = self.sizes[:, low : cut + 1].sum(axis=1)
                shares.append((float(_SIZE_EDGES[cut + 1]), float(part[0] / part.sum())))
            low = max(low, cut + 1)
        return shares

    def to_dict(self) -> dict[str, Any]:
        """Return the object of `aurora replay --json` for one policy."""
        return {
            "routed": self.routed,
            "fill_rate": self.routed / self.requests if self.requests else None,
            "value": self.value,
            "bound": self.bound,
            "gap": gap(self.value, self.bound),
            "cost_usd": self.cost_usd,
            "mean_price_usd_per_hour": self.price_sum / self.routed if self.routed else None,
            "mean_latency_ms": self.latency_sum / self.routed if self.routed else None,
            "providers": dict(self.providers.most_common()),
            "reasons": dict(self.reasons.most_common()),
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
            "bound": f"{self.bound:,.1f}",
            "gap": f"{gap(self.value, self.bound):.3%}",
            "cost, USD": f"{self.cost_usd:,.0f}",
            "mean price, USD/h": f"{self.price_sum / routed:.3f}",
            "mean latency, ms": f"{self.latency_sum / routed:.0f}",
            "late": f"{self.late:,}",
            "rejected": f"{self.statuses[Status.REJECTED]:,}",
            "routes/s": f"{self.requests / self.seconds:,.0f}" if self.seconds else "-",
        }


def gap(value: float, bound: float) -> float:
    """Return (bound - value) / bound, 0 where the bound is 0 (and so the value)."""
    return (bound - value) / bound if bound else 0.0


def _count(counter: Counter[Any], values: pl.Series) -> None:
    for value, count in values.value_counts().sort(values.name).iter_rows():
        counter[value] += count
