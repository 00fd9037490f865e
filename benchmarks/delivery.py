"""What delivery costs at a real broker: exactly once beside at least once, poison beside none.

    python -m benchmarks.delivery                a broker of its own (Java and Maven)
    python -m benchmarks.delivery --kafka localhost:9092

A topic is filled, then a worker of this process decides it to its end, linger 100 ms, in micro-
batches of the configured size. The ways take turns; printed are the medians of several
rounds, ratios within a round. Everything shares this machine, the broker too.

Poison is what `tests/aurora_batch/schema/payloads.py` lists, in turns, so it comes again, as it
does where a producer retries; in the last way no two are the same.
"""

import argparse
import asyncio
import gc
import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from time import perf_counter

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from aurora_batch.adapters.kafka import create_topics
from aurora_batch.schema import Message, verdicts
from aurora_batch.settings import BatchSettings, Settings
from pipelines.stream import SWITCH_S
from tests.aurora_batch.schema.payloads import BAD
from tests.broker import Broker
from tests.streaming import cluster_of, request, send, settings_for, worker_for

LINGER_MS = 100.0
PARTITIONS = 4
WAYS = (
    "exactly once", "at least once", "exactly once, 5 % poison", "the same, each its own bytes"
)  # fmt: skip
PIECE = 10_000  # requests that are sent together
SMALL = 10_000  # bytes of a poison


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    args = _parser().parse_args(argv)
    bar = Progress(
        TextColumn("deciding"), BarColumn(), MofNCompleteColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with ExitStack() as stack:
        bootstrap = args.kafka
        if bootstrap is None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            bootstrap = stack.enter_context(Broker(Path(folder))).bootstrap
        stack.enter_context(bar)
        task = bar.add_task("", total=(args.rounds + 1) * len(WAYS))
        rounds: list[dict[str, float]] = []
        for number in range(args.rounds + 1):  # the first one warms up
            found = {}
            for way in (WAYS, WAYS[::-1])[number % 2]:
                settings = _settings(bootstrap, way, f"b{number}-{WAYS.index(way)}", args.batch)
                found[way] = asyncio.run(_rate(settings, way, args.count))
                bar.advance(task)
            rounds.append(found)
    figures = {way: median(r[way] for r in rounds[1:]) for way in WAYS}
    ratios = {way: median(r[way] / r[WAYS[1]] for r in rounds[1:]) for way in WAYS}
    poison, own = (median(r[way] / r[WAYS[0]] for r in rounds[1:]) for way in WAYS[2:])
    if args.json:
        said = {"requests_per_s": figures, "to_at_least_once": ratios, "poison": poison, "own": own}
        sys.stdout.write(json.dumps(said) + "\n")
        return 0
    for way in WAYS:
        sys.stdout.write(f"{way:<29}{figures[way]:>10,.0f} requests/s\n")
    sys.stdout.write(f"exactly once / at least once    {ratios[WAYS[0]]:.3f}\n")
    sys.stdout.write(f"with poison / without           {poison:.3f}\n")
    sys.stdout.write(f"each its own bytes / without    {own:.3f}\n")
    return 0


def _settings(bootstrap: str, way: str, prefix: str, batch: int) -> Settings:
    transactional = "off" if way == WAYS[1] else "on"
    settings = settings_for(bootstrap, prefix=prefix, transactional=transactional)
    closed = BatchSettings(max_requests=batch, linger_ms=LINGER_MS)
    router = msgspec.structs.replace(settings.router, batch=closed)
    return msgspec.structs.replace(settings, router=router)


async def _rate(settings: Settings, way: str, count: int) -> float:
    """Return requests, good and bad, that are decided in a second."""
    topics = settings.kafka.topics
    names = [getattr(topics, field) for field in topics.__struct_fields__]
    await create_topics(cluster_of(settings), {name: {} for name in names}, PARTITIONS, 1)
    messages = _messages(count, poison=way in WAYS[2:], own=way == WAYS[3])
    for low in range(0, len(messages), PIECE):
        await send(settings, messages[low : low + PIECE])
    del messages
    worker = worker_for(settings)
    worker.warm_up()
    verdicts.forget()  # what the round before left
    # As `aurora stream` does.
    sys.setswitchinterval(SWITCH_S)
    gc.collect()
    gc.freeze()
    began = perf_counter()
    await worker.run(asyncio.Event(), until_end=True)
    seconds = perf_counter() - began
    gc.unfreeze()
    assert worker.account.consumed == count
    return count / seconds


def _messages(count: int, *, poison: bool, own: bool = False) -> list[Message]:
    kinds = [value for value, *_ in BAD.values() if value is None or len(value) < SMALL]
    messages = []
    for i in range(count):
        message = request(i)
        if poison and i % 20 == 19:
            bad = kinds[i // 20 % len(kinds)]
            if own:  # as no other's, and as bad
                bad = (bad or b"%d" % i).replace(b'"bad"', b'"bad %d"' % i) + b" " * (
                    i // 20 // len(kinds)
                )
            message = Message(bad, message.key)
        messages.append(message)
    return messages


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.delivery",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kafka", metavar="HOST:PORT", help="default: a broker of its own")
    parser.add_argument("--count", type=int, default=100_000, help="requests (100,000)")
    parser.add_argument("--batch", type=int, default=10_000, help="requests in a batch (10,000)")
    parser.add_argument("--rounds", type=int, default=5, help="that count (5)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
