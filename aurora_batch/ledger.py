"""What is left of pools and budgets in the current window, and the windows themselves.

A window is an aligned span of event time, `[start, start + window)`. At its start capacity and
budgets are whole again. A ledger is a value: every change returns a new one.
"""

from dataclasses import dataclass, replace

import msgspec
import numpy as np
from numpy.typing import NDArray

from aurora_batch.fleet import Fleet
from aurora_batch.scoring import Tenants

NO_WINDOW = -(2**62)  # before every event time; microseconds


def window_of(event_us: NDArray[np.int64], window_us: int) -> NDArray[np.int64]:
    """Return the start of each event's window, in microseconds since the epoch."""
    return event_us - event_us % window_us


@dataclass(frozen=True, eq=False)
class Ledger:
    """Capacity and budgets left in one window."""

    window_us: int  # start of the window, microseconds since the epoch
    batches: int  # batches decided in this window
    pool_ids: tuple[str, ...]
    pool_total: NDArray[np.float64]  # (k,) GPU-hours when whole
    pool_left: NDArray[np.float64]  # (k,) GPU-hours
    budget_ids: tuple[str, ...]
    budget_left: NDArray[np.float64]  # (t,) USD

    @classmethod
    def whole(cls, fleet: Fleet, tenants: Tenants, window_us: int = NO_WINDOW) -> "Ledger":
        """Return the ledger of a window in which nothing is spent yet."""
        return cls(
            window_us, 0, fleet.pool_ids, fleet.pool_capacity, fleet.pool_capacity,
            tenants.budget_ids, tenants.budget,
        )  # fmt: skip

    def enter(self, window_us: int, fleet: Fleet, tenants: Tenants) -> "Ledger":
        """Return the ledger for a batch in that window: whole in a new one, else what is left.

        A window older than the current one changes nothing: late requests are decided in the
        current window. A fleet that was reloaded in mid-window keeps what was spent: a pool that
        grew by x has x more left, one that shrank has less, never less than nothing.
        """
        if window_us > self.window_us:
            return Ledger.whole(fleet, tenants, window_us)
        known = fleet.pool_ids == self.pool_ids
        if known and np.array_equal(fleet.pool_capacity, self.pool_total):
            return self
        spent = dict(zip(self.pool_ids, self.pool_total - self.pool_left, strict=True))
        used = np.array([spent.get(p, 0.0) for p in fleet.pool_ids], np.float64)
        left = np.maximum(fleet.pool_capacity - used, 0.0)
        return replace(
            self, pool_ids=fleet.pool_ids, pool_total=fleet.pool_capacity, pool_left=left
        )

    def spend(self, pool_left: NDArray[np.float64], budget_left: NDArray[np.float64]) -> "Ledger":
        """Return the ledger after one more batch; rounding below zero is cut off."""
        return replace(
            self,
            batches=self.batches + 1,
            pool_left=np.maximum(pool_left, 0.0),
            budget_left=np.maximum(budget_left, 0.0),
        )

    def to_json(self) -> bytes:
        """Return a snapshot that `from_json` restores bit for bit."""
        return msgspec.json.encode(
            {
                "window_us": self.window_us,
                "batches": self.batches,
                "pools": {
                    p: [total, left]
                    for p, total, left in zip(
                        self.pool_ids,
                        self.pool_total.tolist(),
                        self.pool_left.tolist(),
                        strict=True,
                    )
                },
                "budgets": dict(zip(self.budget_ids, self.budget_left.tolist(), strict=True)),
            }
        )

    @classmethod
    def from_json(cls, snapshot: bytes, tenants: Tenants) -> "Ledger":
        """Return the ledger of a snapshot; budgets that are new since then are whole."""
        said = msgspec.json.decode(snapshot, type=_Snapshot)
        budgets = [
            said.budgets.get(name, float(whole))
            for name, whole in zip(tenants.budget_ids, tenants.budget, strict=True)
        ]
        return cls(
            said.window_us,
            said.batches,
            tuple(said.pools),
            np.array([total for total, _ in said.pools.values()], np.float64),
            np.array([left for _, left in said.pools.values()], np.float64),
            tenants.budget_ids,
            np.array(budgets, np.float64),
        )


class _Snapshot(msgspec.Struct):
    window_us: int
    batches: int
    pools: dict[str, tuple[float, float]]
    budgets: dict[str, float]
