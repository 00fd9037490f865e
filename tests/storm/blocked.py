"""Backpressure: a broker stands still under a worker that has far more to read than it may hold.

The broker's process is stopped (SIGSTOP), so nothing can be sent, and nothing fails at once either.
"""

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.broker import Broker
from tests.storm.checker import Found
from tests.storm.faults import Faults
from tests.storm.load import Load, feeder, prepare
from tests.storm.watch import Health, Page, Process, port_of

EVERY_S = 0.25
LOOK = 2.0  # rooms: one that was full but for a byte, and as much as partitions bring at once
CALM = 0.02  # share of the requests that is decided before the flood
BEGUN = 0.10  # share that is decided when the broker stops


@dataclass
class Blocked:
    """What was seen."""

    calm: Process | None = None  # before the flood
    flooded: Process | None = None  # when the broker stopped
    still: Process | None = None  # when it went on
    after: Process | None = None  # everything is decided
    asked: int = 0  # looks at `/health`, from the flood on
    unwell: int = 0  # of these, answered "not live", or not at all
    answer_s: list[float] = field(default_factory=list)
    loop_lag_s: list[float] = field(default_factory=list)
    in_flight_mib: float = 0.0  # most, as the worker counts them
    most_mib: float = 0.0  # that it may be: the room, and what one more look brings beyond it
    blocked_s: float = 0.0
    drained_s: float = 0.0  # from the broker's return to the last decision
    found: Found = field(default_factory=Found)

    @property
    def grown_mib(self) -> float:
        """Resident memory at its largest until the broker went on, above that when it stopped."""
        assert self.still is not None
        assert self.flooded is not None
        return self.still.peak_mib - self.flooded.rss_mib

    def rows(self) -> dict[str, str]:
        """Return names and figures for a table."""
        assert self.calm is not None
        assert self.flooded is not None
        assert self.after is not None
        slow = np.percentile(self.answer_s, 99)
        return {
            "broker stood still": f"{self.blocked_s:.0f} s",
            "resident before the flood": f"{self.calm.rss_mib:.0f} MiB",
            "  when the broker stopped": f"{self.flooded.rss_mib:.0f} MiB",
            "  grown until it went on": f"{self.grown_mib:.1f} MiB",
            "  at its largest, while the backlog drained": f"{self.after.peak_mib:.0f} MiB",
            "read and not committed, most": f"{self.in_flight_mib:.1f} MiB",
            "/health asked": f"{self.asked}",
            "  not well": f"{self.unwell}",
            "  answered within, 99 %": f"{slow * 1e3:.0f} ms",
            "event loop late, 99 %": f"{np.percentile(self.loop_lag_s, 99) * 1e3:.0f} ms",
            "backlog drained in": f"{self.drained_s:.0f} s",
            "violations": f"{sum(self.found.counts.values()):,}",
        }


async def blocked(
    broker: Broker, load: Load, folder: Path, seconds: float,
    progress: Callable[[int], object] = lambda _: None,
) -> Blocked:  # fmt: skip
    """Let the broker stand still for so long, in mid-flood."""
    faults, seen, count = Faults(load, folder), Blocked(), load.requests.num_rows
    calm = max(1, int(CALM * count))
    seen.most_mib = LOOK * load.settings.kafka.max_in_flight_bytes / 2**20
    await prepare(load)
    with faults.reader:
        async with faults.worker(options=("--metrics-port", "0")) as process:
            port = await port_of(process)
            await process.line_with("begins at")
            async with feeder(load) as send:
                await send(0, calm)
                await faults.decided(calm)
                seen.calm = Process.of(process.pid)
                await send(calm, count)
            looking = asyncio.create_task(
                _look(port, seen, lambda: progress(faults.checker.decided))
            )
            await faults.decided(int(BEGUN * count))
            seen.flooded = Process.of(process.pid)
            seen.blocked_s = await _stopped(broker, seconds)
            seen.still = Process.of(process.pid)
            began = time.monotonic()
            await faults.decided(count)
            seen.drained_s = time.monotonic() - began
            seen.after = Process.of(process.pid)
            looking.cancel()
            await faults.stopped(process)
    seen.found = faults.found()
    return seen


async def _stopped(broker: Broker, seconds: float) -> float:
    began = time.monotonic()
    broker.signal(signal.SIGSTOP)
    try:
        await asyncio.sleep(seconds)
    finally:
        broker.signal(signal.SIGCONT)
    return time.monotonic() - began


async def _look(port: int, seen: Blocked, tick: Callable[[], object]) -> None:
    """Look at the worker again and again until cancelled."""
    while True:
        seen.asked += 1
        health: Health | None = None
        with suppress(OSError):
            health = await asyncio.to_thread(Health.of, port)
            page = await asyncio.to_thread(Page.of, port)
            seen.loop_lag_s.append(page.loop_lag_s)
            seen.in_flight_mib = max(seen.in_flight_mib, page.in_flight_mib)
        seen.unwell += health is None or not health.live
        if health is not None:
            seen.answer_s.append(health.seconds)
        tick()
        await asyncio.sleep(EVERY_S)
