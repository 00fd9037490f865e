"""A long steady run: memory, descriptors, tasks, and counters that agree with the broker's.

    python -m tests.storm.soak [--minutes M] [--rate R]      (`make soak`, MINUTES=2 shortens)

Exit 1 on any violation. A producer that is asked for more than worker and broker can do beside it
waits where the worker falls behind by seconds, and the table says what was really offered.
"""

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from confluent_kafka import Producer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from aurora_batch import schema, workload
from aurora_batch.adapters.kafka import create_topics
from aurora_batch.adapters.kafka.topics import COMPACTED
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.settings import Settings
from tests.broker import Broker
from tests.storm.load import PARTITIONS, keys_of_partitions
from tests.storm.watch import Offsets, Page, Process, port_of
from tests.streaming import cluster_of, settings_for, stream_process

BLOCK = 200_000  # requests that are made once and sent again and again, at the time of sending
BAD = b'{"request_id": "bad", "gpu_hours": -1}'
BAD_EVERY = 1_000  # requests; one becomes a dead letter
SLICE_S = 0.05  # between two pieces that the producer sends
BEHIND_S = 3.0  # of the rate: so far the worker may lag before the producer waits
WARM = 0.3  # share of the run after which nothing may grow
GROWTH_MIB = 16.0  # of resident memory, after that
GROWTH_COUNT = 4  # of descriptors, threads and tasks, from one half to the other after that
QUIET_S = 60.0  # for the rest to be decided
# What is read is dropped soon: a soak is to fill no disk.
BOUNDED = {"retention.bytes": str(256 * 2**20), "segment.bytes": str(32 * 2**20)}
SOON = {"log.retention.check.interval.ms": "5000"}


@dataclass(frozen=True)
class Sample:
    """One look at everything."""

    at: float  # seconds since the beginning
    process: Process
    page: Page
    sent: int
    committed: int  # at the broker, right after the page
    ends: int  # the same


@dataclass
class Soak:
    """What was seen."""

    rate: float  # asked for
    samples: list[Sample] = field(default_factory=list)
    last: Sample | None = None  # everything is decided
    fed_s: float = 0.0

    @property
    def warm(self) -> list[Sample]:
        """Samples in which nothing grows any more."""
        return [s for s in self.samples if s.at >= WARM * self.fed_s]

    @property
    def growth_mib(self) -> float:
        """Of resident memory, by a line through the least of each tenth of the warm samples.

        What is in flight comes and goes with the load of the machine; a leak lifts the least, too.
        """
        tenths = np.array_split(np.array([(s.at, s.process.rss_mib) for s in self.warm]), 10)
        least = np.array([(part[:, 0].mean(), part[:, 1].min()) for part in tenths if len(part)])
        slope = np.polyfit(least[:, 0], least[:, 1], 1)[0]
        return float(slope * np.ptp(least[:, 0]))

    def drift(self, of: Callable[[Sample], float]) -> tuple[float, float]:
        """Return the least of each half of the warm samples."""
        figures = [of(s) for s in self.warm]
        half = len(figures) // 2
        return min(figures[:half]), min(figures[half:])

    @property
    def offered(self) -> float:
        """Requests per second, from the first that was sent on."""
        assert self.last is not None
        first = next((s.at for s in self.samples if s.sent), 0.0)
        return self.last.sent / (self.fed_s - first)


COUNTED: dict[str, Callable[[Sample], float]] = {
    "descriptors": lambda s: s.process.descriptors,
    "threads": lambda s: s.process.threads,
    "asyncio tasks": lambda s: s.page.tasks,
}


def violations(soak: Soak) -> list[str]:
    """Return what grew, and which figures do not agree."""
    lines = [] if soak.last and soak.last.sent else ["nothing was sent"]
    if soak.growth_mib > GROWTH_MIB:
        lines.append(f"memory grew by {soak.growth_mib:.1f} MiB, expected {GROWTH_MIB:g} at most")
    for name, of in COUNTED.items():
        before, after = soak.drift(of)
        if after > before + GROWTH_COUNT:
            lines.append(f"{name} grew from {before:g} to {after:g}")
    for s in soak.samples:
        lines += _of_sample(s)
    last = soak.last
    assert last is not None
    equal = {
        "sent = end offsets": (last.sent, last.ends),
        "consumed = sent": (last.page.consumed, last.sent),
        "decided + dead-lettered = committed offsets": (
            last.page.decided + last.page.dead,
            last.committed,
        ),
        "lag = end offsets - committed offsets": (last.page.lag, last.ends - last.committed),
        "nothing in flight": (last.page.in_flight, 0),
    }
    return lines + [f"{what}: {a:,} != {b:,}" for what, (a, b) in equal.items() if a != b]


def _of_sample(s: Sample) -> list[str]:
    """Return what cannot be, whatever went on while the sample was taken."""
    page = s.page
    never = {
        "consumed = decided + dead-lettered + in flight": page.consumed
        != page.decided + page.dead + page.in_flight,
        "consumed at most what was there": page.consumed > s.ends,
        "decided only what is committed": page.decided + page.dead > s.committed,
    }
    return [f"at {s.at:.0f} s not: {what}" for what, failed in never.items() if failed]


def feed(settings: Settings, rate: float, stop: Any, sent: Any, lag: Any) -> None:
    """Send requests at a rate until `stop` is set; a process of its own. `sent` counts them."""
    values, keys = _block(settings, rate), keys_of_partitions(PARTITIONS)
    producer = Producer(
        {"bootstrap.servers": settings.kafka.bootstrap, "linger.ms": 20, "log_level": 0}
    )
    topic, count, due = settings.kafka.topics.requests, 0, time.monotonic()
    while not stop.is_set():
        due = max(due + SLICE_S, time.monotonic() - 1.0)
        time.sleep(max(0.0, due - time.monotonic()))
        if lag.value > BEHIND_S * rate:
            continue
        for _ in range(round(rate * SLICE_S)):
            value = BAD if count % BAD_EVERY == 0 else values[count % BLOCK]
            producer.produce(topic, value, keys[count % PARTITIONS])
            count += 1
        producer.poll(0)
        producer.flush()
        sent.value = count


def _block(settings: Settings, rate: float) -> list[bytes]:
    """Return requests, 1.2 times too many for a window at that rate, that name no time."""
    requests = workload.stress(
        fleet_from_settings(settings.providers), BLOCK, seed=1,
        per_window=round(rate * settings.router.window_s),
        known_tenants=tuple(settings.tenants),
    )  # fmt: skip
    values = map(msgspec.json.decode, schema.encode_requests_json(requests))
    return [
        msgspec.json.encode({k: v for k, v in value.items() if k != "requested_at"})
        for value in values
    ]


async def run(
    broker: Broker, folder: Path, minutes: float, rate: float, progress: Callable[[Sample], object]
) -> Soak:
    """Feed for so long, watch, and let the rest be decided."""
    settings = settings_for(broker.bootstrap, prefix="soak", batch=10_000, transactional="auto")
    topics = settings.kafka.topics
    wanted: dict[str, dict[str, str]] = {
        getattr(topics, f): BOUNDED for f in topics.__struct_fields__
    }
    await create_topics(cluster_of(settings), {**wanted, topics.ledger: COMPACTED}, PARTITIONS, 1)
    offsets, soak = Offsets(settings.kafka, PARTITIONS), Soak(rate)
    context = multiprocessing.get_context("spawn")
    stop, sent, lag = context.Event(), context.Value("q", 0), context.Value("q", 0)
    feeder = context.Process(target=feed, args=(settings, rate, stop, sent, lag), daemon=True)
    async with stream_process(settings, folder, "--metrics-port", "0") as process:
        port = await port_of(process)
        await process.line_with("begins at")
        feeder.start()
        began = time.monotonic()

        async def look() -> Sample:
            at, figures = time.monotonic() - began, Process.of(process.pid)
            page = await asyncio.to_thread(Page.of, port)
            committed = await asyncio.to_thread(offsets.committed)
            ends = await asyncio.to_thread(offsets.ends)
            lag.value = ends - committed
            return Sample(at, figures, page, sent.value, committed, ends)

        while time.monotonic() - began < 60 * minutes:
            soak.samples.append(await look())
            progress(soak.samples[-1])
            await asyncio.sleep(min(1.0, minutes))
        stop.set()
        await asyncio.to_thread(feeder.join)
        soak.fed_s = time.monotonic() - began
        deadline = time.monotonic() + QUIET_S
        while time.monotonic() < deadline:
            soak.last = replace(await look(), sent=sent.value)
            if soak.last.page.lag == 0 and soak.last.committed == soak.last.ends:
                break
            await asyncio.sleep(0.5)
        process.signal(15)
        assert await process.ended() == 0, process.output[-2000:]
    offsets.close()
    return soak


def table(soak: Soak) -> Table:
    """Return what was done and seen."""
    last = soak.last
    assert last is not None
    shown = Table(box=SIMPLE_HEAD, title="soak")
    shown.add_column("what")
    shown.add_column("figure", justify="right")
    memory = [s.process.rss_mib for s in soak.warm]
    rows = {
        "minutes": f"{soak.fed_s / 60:.1f}",
        "requests/s asked for": f"{soak.rate:,.0f}",
        "requests/s offered": f"{soak.offered:,.0f}",
        "consumed": f"{last.page.consumed:,}",
        "decided": f"{last.page.decided:,}",
        "dead-lettered": f"{last.page.dead:,}",
        "in flight at the end": f"{last.page.in_flight:,}",
        "lag at the end, worker and broker": f"{last.page.lag:,} {last.ends - last.committed:,}",
        "largest lag": f"{max(s.ends - s.committed for s in soak.samples):,}",
        "resident memory, warm": f"{min(memory):.0f} to {max(memory):.0f} MiB",
        "  slope": f"{soak.growth_mib / (1 - WARM) / soak.fed_s * 60:+.2f} MiB/min",
        "  grown along it": f"{soak.growth_mib:+.1f} MiB",
    }
    for name, of in COUNTED.items():
        rows[f"{name}, least of each half"] = "{:g} {:g}".format(*soak.drift(of))
    for what, figure in rows.items():
        shown.add_row(what, figure)
    return shown


def main(argv: Sequence[str] | None = None) -> int:
    """Run the soak of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--rate", type=float, default=20_000.0, help="requests per second")
    args = parser.parse_args(argv)
    say = Console(stderr=True, highlight=False)
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}")
    with tempfile.TemporaryDirectory(prefix="aurora-soak-") as name:
        folder = Path(name)
        say.print("==> starting a broker")
        with (
            Broker(folder / "broker", settings=SOON) as broker,
            Progress(*columns, TimeElapsedColumn(), console=say) as bar,
        ):
            task = bar.add_task("soak", total=60 * args.minutes, said="")

            def progress(s: Sample) -> None:
                said = f"{s.page.decided:,} decided, lag {s.ends - s.committed:,}"
                bar.update(task, completed=s.at, said=f"{said}, {s.process.rss_mib:.0f} MiB")

            soak = asyncio.run(run(broker, folder, args.minutes, args.rate, progress))
    Console(highlight=False).print(table(soak))
    failures = violations(soak)
    sys.stdout.writelines(f"VIOLATION {line}\n" for line in failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
