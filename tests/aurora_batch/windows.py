"""A few small windows of a seeded log, decided batch by batch."""

from dataclasses import dataclass, replace

import msgspec
import numpy as np
import pyarrow as pa

from aurora_batch import router
from aurora_batch.fleet import Fleet
from aurora_batch.hindsight import without_lookahead
from aurora_batch.model import Policy
from aurora_batch.router import RouterState, Step
from aurora_batch.settings import Lookahead, Settings
from benchmarks.horizons import WINDOW_US, horizon

SAMPLE = 1_200  # about a window


@dataclass(frozen=True)
class Log:
    """Batches in order, and who decides them for what."""

    batches: tuple[pa.Table, ...]
    fleet: Fleet
    settings: Settings

    @property
    def requests(self) -> pa.Table:
        """All of them."""
        return pa.concat_tables(self.batches)

    @property
    def batch_only(self) -> "Log":
        """The same, each batch to its own optimum."""
        return replace(self, settings=without_lookahead(self.settings))

    def start(self) -> RouterState:
        """Nothing decided yet."""
        return router.initial_state(self.fleet, self.settings)

    def decide(self, most: int | None = None) -> list[Step]:
        """Decide its batches, or the first `most` of them."""
        state, steps = self.start(), []
        for batch in self.batches[:most]:
            for step in router.decide(batch, self.fleet, state, self.settings):
                state = step.state
                steps.append(step)
        return steps


def log(
    load: float, name: str = "steady", windows: int = 2, batch: int = 60, pools: int = 8
) -> Log:
    """Return windows of some 1,200 requests of a family, for `pools` offers."""
    whole = horizon(name, load, pools, 0, per_window=SAMPLE)
    at = whole.requests["requested_at"].cast(pa.int64()).to_numpy()
    n = int(np.searchsorted(at, at[0] - at[0] % WINDOW_US + windows * WINDOW_US))
    batches = tuple(whole.requests.slice(low, min(batch, n - low)) for low in range(0, n, batch))
    return Log(batches, whole.fleet, with_lookahead(whole.settings, sample=SAMPLE))


def with_lookahead(settings: Settings, **changed: float) -> Settings:
    """The settings with another look-ahead."""
    lookahead = Lookahead(**changed)  # type: ignore[arg-type]
    return msgspec.structs.replace(
        settings, router=msgspec.structs.replace(settings.router, lookahead=lookahead)
    )


def value(steps: list[Step]) -> float:
    """What they were worth."""
    return sum(step.batch.value for step in steps)


def served(steps: list[Step]) -> int:
    """How many requests were placed."""
    return sum(step.batch.served for step in steps)


def decisions(steps: list[Step]) -> pa.Table:
    """All decisions."""
    return pa.concat_tables([step.decisions for step in steps])


def policy_settings(settings: Settings, policy: Policy) -> Settings:
    """The settings with another policy."""
    return msgspec.structs.replace(
        settings, router=msgspec.structs.replace(settings.router, policy=policy)
    )
