"""`aurora produce FILE`: a request log into the topic of requests."""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from aurora_batch import schema
from aurora_batch.adapters.files import read_requests
from aurora_batch.adapters.kafka import Cluster, Sink
from aurora_batch.errors import UsageError
from aurora_batch.schema import Message
from pipelines import cli_options, kafka_options, logs

Payload = Literal["json", "arrow"]
# Told how many requests come next; returns when they may be sent.
Pace = Callable[[int], Awaitable[None]]

ROWS = 1_000  # sent together
_ARROW_HEADERS = (("content-type", schema.ARROW_CONTENT_TYPE.encode()),)


def register(subparsers: Any) -> None:
    """Add `aurora produce`."""
    parser = subparsers.add_parser(
        "produce",
        help="send a request log to the topic of requests",
        description=(
            "Send the requests of a log (Parquet, NDJSON, CSV, Arrow IPC), keyed by GPU type, so\n"
            "that what competes meets in one partition. Rows that are no requests are left out."
        ),
        epilog="example:\n  aurora produce requests.parquet --kafka localhost:9092 --rate 20000",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="the request log")
    kafka_options.add(parser)
    parser.add_argument("--rate", type=float, metavar="R", help="requests per second, at most")
    parser.add_argument(
        "--payload",
        choices=["json", "arrow"],
        default="json",
        help="one JSON request a record, or an Arrow stream of many (default: json)",
    )
    cli_options.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Send the log."""
    logs.silence_client()
    if args.rate is not None and not args.rate > 0:
        raise UsageError(f"--rate {args.rate:g}: expected a number > 0")
    loaded = kafka_options.load(args)
    log = Log(args.file)
    topic = loaded.settings.kafka.topics.requests
    began = time.monotonic()
    with _bar(args) as bar:
        task = bar.add_task("sending", total=1.0, sent=0)
        sent = asyncio.run(
            produce_requests(
                kafka_options.cluster(loaded),
                topic,
                log.tables(),
                payload=args.payload,
                pace=steady(args.rate) if args.rate else None,
                progress=lambda n: bar.update(task, completed=log.done, sent=n),
            )
        )
    _report(args, topic, sent, log.left_out, time.monotonic() - began)
    return 0


class Log:
    """A request log as tables, and how far it is read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.done = 0.0  # share, 0..1
        self.left_out = 0  # rows that are no requests

    def tables(self) -> Iterator[pa.Table]:
        """Yield the valid requests, in order."""
        for chunk in read_requests(self._path):
            self.left_out += len(chunk.decoded.rejections)
            yield chunk.decoded.requests
            self.done = chunk.done


async def produce_requests(
    cluster: Cluster,
    topic: str,
    tables: Iterable[pa.Table],
    *,
    payload: Payload = "json",
    pace: Pace | None = None,
    progress: Callable[[int], object] = lambda _: None,
) -> int:
    """Send requests in their order; return how many.

    Parameters
    ----------
    tables
        Canonical requests (`schema.REQUEST_SCHEMA`), of any number of rows each.
    pace
        Awaited before each piece of at most 1,000 requests with their number: by the clock, or by
        the lag of a reader that cannot hold more.
    progress
        Told the number of requests sent so far.
    """
    sink = Sink(cluster, await cluster.partitions([topic]))
    sent = 0
    try:
        await sink.open()
        for table in tables:
            for low in range(0, table.num_rows, ROWS):
                piece = table.slice(low, ROWS)
                if pace is not None:
                    await pace(piece.num_rows)
                await sink.send(sink.stage({topic: messages(piece, payload)}))
                sent += piece.num_rows
                progress(sent)
    finally:
        await sink.close()
    return sent


def messages(requests: pa.Table, payload: Payload) -> Iterable[Message]:
    """Return requests as messages keyed by GPU type: one each, or an Arrow stream for each key."""
    gpus = requests["gpu_type"].combine_chunks()
    if payload == "json":
        keys = map(str.encode, gpus.to_pylist())
        return list(map(Message, schema.encode_requests_json(requests), keys))
    return [
        Message(
            schema.encode_requests_arrow(requests.filter(pc.equal(gpus, gpu))),
            gpu.as_py().encode(),
            _ARROW_HEADERS,
        )
        for gpu in gpus.unique()
    ]


def steady(rate: float) -> Pace:
    """Return a pace of so many requests per second."""
    due: float | None = None

    async def pace(count: int) -> None:
        nonlocal due
        now = asyncio.get_running_loop().time()
        due = now if due is None else max(due, now - 1.0)
        await asyncio.sleep(max(0.0, due - now))
        due += count / rate

    return pace


def _bar(args: argparse.Namespace) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[sent]:,} requests"),
        TimeElapsedColumn(),
        console=console,
        disable=args.quiet or not console.is_terminal,
    )


def _report(args: argparse.Namespace, topic: str, sent: int, left_out: int, seconds: float) -> None:
    if args.json:
        figures = {"topic": topic, "sent": sent, "left_out": left_out, "seconds": seconds}
        sys.stdout.write(json.dumps(figures) + "\n")
    elif not args.quiet:
        rows = f", {left_out:,} rows left out as no requests" if left_out else ""
        sys.stdout.write(f"{sent:,} requests sent to {topic} in {seconds:.1f} s{rows}\n")
