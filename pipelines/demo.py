"""`aurora demo`: the main path end to end on an embedded broker, with its figures on one screen.

    requests --> broker --> worker (global) --> broker --> reader
                                                            |
    the same log offline: greedy, and each window at once --+--> screen and report

What is embedded is the broker alone; worker, producer and reader are those of `aurora stream`,
`produce` and `tail`, with offsets committed after the sends (the embedded broker has no
transactions).
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec.structs import replace
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from aurora_batch import workload
from aurora_batch.adapters.embedded import EmbeddedBroker
from aurora_batch.adapters.kafka import Cluster, Reader
from aurora_batch.adapters.outputs import RequestWriter, replacing
from aurora_batch.errors import AuroraError, UsageError
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.metrics import Committed
from aurora_batch.settings import Settings
from pipelines import cli_options, report
from pipelines.contestants import BOTH, GLOBAL, GREEDY, contestants
from pipelines.figures import Figures, gap
from pipelines.fleets import Fleets
from pipelines.logs import silence_client
from pipelines.playback import play
from pipelines.produce import produce_requests
from pipelines.tail import decisions_in
from pipelines.worker import Worker

SEED = 42
LOAD = 1.2  # demand over capacity: scarce, so that it matters who gets what
PER_WINDOW = 5_000
# The embedded broker keeps 5 MiB of a partition, about 6,000 decisions, and forgets the oldest: so
# many requests at most are sent and not yet read back as decisions.
MOST_UNREAD = 8_000
FETCH_WAIT_MS = 5  # the embedded broker sleeps through a fetch's wait
QUIET_S = 60.0  # without a decision: something is stuck
Decision = dict[str, Any]


def register(subparsers: Any) -> None:
    """Add `aurora demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="the main path end to end on an embedded broker",
        description=(
            "Start a broker in this process, send seeded requests whose demand is 1.2 times the\n"
            "fleet's capacity, decide them as `aurora stream` does, read the decisions back, and\n"
            "compare with greedy on the same log and with each window solved in hindsight."
        ),
        epilog="example:\n  aurora demo --requests 20000 --out out/demo",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--requests", type=int, default=100_000, metavar="N", help="how many (default: 100,000)"
    )
    parser.add_argument(
        "--out", type=Path, default=Path("out/demo"), metavar="DIR", help="default: out/demo"
    )
    cli_options.common(parser)
    parser.set_defaults(run=run)


@dataclass(frozen=True)
class Live:
    """What the stream did."""

    committed: Sequence[Committed]
    read: Sequence[Decision]  # from the topic of decisions
    seconds: float  # from the first request sent to the last decision read

    @property
    def decisions(self) -> pa.Table:
        """All decisions as the worker made them, by request id."""
        made = pa.concat_tables([c.decisions.to_table() for c in self.committed])
        return made.sort_by("request_id")

    def latency_ms(self, percent: float) -> float:
        """Percentile of the time from arrival at the worker to the committed decision."""
        return float(
            np.percentile(np.concatenate([c.durations for c in self.committed]), percent) * 1e3
        )


def run(args: argparse.Namespace) -> int:
    """Run the demo."""
    if args.requests < 1:
        raise UsageError(f"--requests {args.requests}: expected a number >= 1")
    silence_client()
    settings = cli_options.load(args).settings
    fleet = fleet_from_settings(settings.providers)
    say = Console(stderr=True, quiet=args.quiet, highlight=False)
    _make_folder(args.out)
    say.print(f"making {args.requests:,} requests, seed {SEED}, demand {LOAD} x capacity")
    requests = workload.stress(
        fleet, args.requests, seed=SEED, load=LOAD, per_window=PER_WINDOW,
        window_s=settings.router.window_s, known_tenants=tuple(settings.tenants),
    )  # fmt: skip
    log = args.out / "requests.parquet"
    with RequestWriter(log) as writer:
        writer.write(requests)
    live = asyncio.run(through_broker(settings, requests, say))
    _write_decisions(live, args.out / "decisions.ndjson")
    say.print("deciding the same log by greedy, and each window at once in hindsight")
    both = contestants(BOTH, settings, as_live=False)
    offline = play(log, both, fleet, write=lambda _: None)
    figures = _figures(live, requests, offline[GLOBAL])
    with report.page(args.out / "report.html") as page:
        compared = {GREEDY: offline[GREEDY], GLOBAL: figures}
        page(report.Replayed("Aurora demo", fleet, compared, live.seconds, as_live=True))
    if args.json:
        sys.stdout.write(json.dumps(_to_dict(live, figures, offline)) + "\n")
    else:
        _show(Console(highlight=False), live, figures, offline, args.out)
    return 0


async def through_broker(settings: Settings, requests: pa.Table, say: Console) -> Live:
    """Send, decide and read back all requests through an embedded broker."""
    topics = settings.kafka.topics
    names = (topics.requests, topics.decisions, topics.dead_letters, topics.ledger)
    say.print("starting the embedded broker")
    with EmbeddedBroker(names) as broker:
        kafka = replace(
            settings.kafka, bootstrap=broker.bootstrap, transactional="off",
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )  # fmt: skip
        settings = replace(settings, kafka=kafka)
        cluster = Cluster.of(kafka, {})
        committed: list[Committed] = []
        fleets = Fleets(fleet_from_settings(settings.providers))
        worker = Worker(cluster, settings, fleets, observers=[committed.append])
        say.print("compiling the kernels (half a minute the first time, then cached)")
        await asyncio.to_thread(worker.warm_up)
        say.print(f"streaming through {broker.bootstrap}")
        stop = asyncio.Event()
        deciding = asyncio.create_task(worker.run(stop))
        try:
            read, seconds = await _exchange(cluster, topics, requests, deciding, say)
        finally:
            stop.set()
            with suppress(asyncio.CancelledError):
                await deciding
    return Live(committed, read, seconds)


async def _exchange(
    cluster: Cluster, topics: Any, requests: pa.Table, deciding: "asyncio.Task[None]", say: Console
) -> tuple[list[Decision], float]:
    """Send requests while reading decisions; return all of these, and the seconds it took."""
    read: list[Decision] = []
    polled = asyncio.Event()  # set at every look at the topic, so waiting for it is bounded
    sent = 0

    async def pace(count: int) -> None:
        nonlocal sent
        while sent + count - len(read) > MOST_UNREAD:
            polled.clear()
            await polled.wait()
        sent += count

    async with Reader(cluster, topics.decisions, from_start=True) as reader:
        began = time.perf_counter()
        sending = asyncio.create_task(
            produce_requests(cluster, topics.requests, [requests], pace=pace)
        )
        try:
            with _bar(say) as bar:
                task = bar.add_task("deciding", total=requests.num_rows)
                last = began
                while len(read) < requests.num_rows:
                    records = await reader.poll(0.2)
                    read += decisions_in(records)
                    polled.set()
                    bar.update(task, completed=len(read))
                    last = time.perf_counter() if records else last
                    await _alive(deciding, sending, len(read), time.perf_counter() - last)
            seconds = time.perf_counter() - began
            await sending
        finally:
            sending.cancel()
    _check_once(read)
    return read, seconds


async def _alive(
    deciding: "asyncio.Task[None]", sending: "asyncio.Task[int]", count: int, quiet_s: float
) -> None:
    """Raise what stopped the worker or the producer, or that nothing has come for long."""
    for failed in (t for t in (deciding, sending) if t.done() and t.exception()):
        await failed
    if quiet_s > QUIET_S:
        raise AuroraError(
            f"no decision came for {QUIET_S:g} s, after {count:,} of them; is the machine very "
            "busy? Try again with fewer --requests"
        )


def _check_once(read: Sequence[Decision]) -> None:
    """Raise where a request came back decided twice, and so another one not at all."""
    distinct = len({decision["request_id"] for decision in read})
    if distinct != len(read):
        raise AuroraError(f"{len(read):,} decisions came for {distinct:,} requests; report this")


def _figures(live: Live, requests: pa.Table, hindsight: Figures) -> Figures:
    """Sums over the stream's decisions, each window held against its bound in hindsight."""
    figures = Figures()
    for done in live.committed:
        for record in done.batches:
            figures.add_batch(record, record.bound, done.decide_s / len(done.batches))
    by_id = requests.sort_by("request_id")
    figures.add_decisions(live.decisions, by_id)
    for start, window in figures.windows.items():
        window.bound = hindsight.windows[start].bound
    return figures


def _to_dict(live: Live, figures: Figures, offline: dict[str, Figures]) -> dict[str, Any]:
    return {
        "requests": figures.requests,
        "read_back": len(live.read),
        "routes_per_second": figures.requests / live.seconds,
        "latency_ms": {f"p{p:g}": live.latency_ms(p) for p in (50, 95, 99)},
        "policies": {
            "stream": figures.to_dict(),
            "greedy": offline[GREEDY].to_dict(),
            "hindsight": offline[GLOBAL].to_dict(),
        },
        "seconds": live.seconds,
    }


def _show(
    screen: Console, live: Live, figures: Figures, offline: dict[str, Figures], out: Path
) -> None:
    """Print the one readable screen."""
    greedy, hindsight = offline[GREEDY], offline[GLOBAL]
    table = Table(box=SIMPLE_HEAD, title="Aurora demo", title_justify="left", title_style="bold")
    for name in ("", "stream, global", "greedy, same log", "each window in hindsight"):
        table.add_column(name, justify="right" if name else "left")
    columns = [f.lines() for f in (figures, greedy, hindsight)]
    for name in ("requests", "routed", "fill rate", "value", "cost, USD", "mean price, USD/h"):
        table.add_row(name, *(column[name] for column in columns))
    bound = hindsight.bound
    gaps = (f"{gap(f.value, bound):.2%}" for f in (figures, greedy, hindsight))
    table.add_row("gap to optimal", *gaps)
    for title, names in (
        ("", sorted({*figures.statuses, *greedy.statuses})),
        ("at ", sorted({*figures.providers, *greedy.providers})),
    ):
        counters = [f.providers if title else f.statuses for f in (figures, greedy, hindsight)]
        for name in names:
            table.add_row(f"{title}{name}", *(f"{c[name]:,}" for c in counters))
    screen.print(table)
    latencies = ", ".join(f"p{p:g} {live.latency_ms(p):.0f} ms" for p in (50, 95, 99))
    batches = sum(len(done.batches) for done in live.committed)
    screen.print(
        f"{figures.requests:,} requests sent, decided in {batches} batches and read back in "
        f"{live.seconds:.1f} s: [bold]{figures.requests / live.seconds:,.0f} routes/s[/bold] end "
        f"to end; arrival to committed decision {latencies}.\n"
        f"Gap to optimal: below the bound on what any allocation of each window could be worth, "
        f"its requests known in advance.\n"
        f"report: {out / 'report.html'}   decisions: {out / 'decisions.ndjson'}",
        soft_wrap=True,
    )


def _write_decisions(live: Live, path: Path) -> None:
    with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(decision) + "\n" for decision in live.read)


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AuroraError(
            f"{out} cannot be made: {error.strerror}; choose another --out"
        ) from error


def _bar(say: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(),
        TextColumn("{task.completed:,.0f} decisions"), TimeElapsedColumn(),
        console=say, transient=True, disable=say.quiet or not say.is_terminal,
    )  # fmt: skip
