"""`aurora tail`: decisions as they come, for a person or for the next program."""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable
from datetime import datetime
from typing import Any

import msgspec
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from aurora_batch.adapters.kafka import Cluster, Reader
from aurora_batch.errors import UsageError
from aurora_batch.schema import Record
from aurora_batch.schema.arrow_reading import is_arrow
from pipelines import cli_options, kafka_options, logs

COLUMNS = (
    ("request", "request_id", "left"),
    ("status", "status", "left"),
    ("provider", "provider", "left"),
    ("GPU", "gpu_type", "left"),
    ("region", "region", "left"),
    ("USD/h", "price_usd_per_hour", "right"),
    ("USD", "cost_usd", "right"),
    ("ms", "estimated_latency_ms", "right"),
    ("score", "score", "right"),
    ("reason", "reason", "left"),
)
POLL_S = 0.5
Decision = dict[str, Any]


def register(subparsers: Any) -> None:
    """Add `aurora tail`."""
    parser = subparsers.add_parser(
        "tail",
        help="print decisions as they come",
        description=(
            "Print committed decisions: a table on a terminal, tab-separated lines in a pipe,\n"
            "with --json the whole decision, one object a line. Ctrl-C ends it."
        ),
        epilog="example:\n  aurora tail --from-start --count 20 --json | head -1",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kafka_options.add(parser)
    parser.add_argument("--count", type=int, metavar="N", help="end after so many decisions")
    parser.add_argument(
        "--from-start", action="store_true", help="begin with the oldest, not with what is new"
    )
    cli_options.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print decisions."""
    logs.silence_client()
    if args.count is not None and args.count < 1:
        raise UsageError(f"--count {args.count}: expected a number >= 1")
    loaded = kafka_options.load(args)
    topic = loaded.settings.kafka.topics.decisions
    asyncio.run(
        _tail(kafka_options.cluster(loaded), topic, _printer(args), args.count, args.from_start)
    )
    return 0


async def _tail(
    cluster: Cluster,
    topic: str,
    show: Callable[[list[Decision]], None],
    count: int | None,
    from_start: bool,
) -> None:
    left = count
    async for decisions in read_decisions(cluster, topic, from_start=from_start):
        show(decisions[:left])
        if left is not None:
            left -= len(decisions)
            if left <= 0:
                return


async def read_decisions(
    cluster: Cluster, topic: str, *, from_start: bool
) -> AsyncIterator[list[Decision]]:
    """Yield decisions as they are committed, some at a time; ends when it is closed."""
    async with Reader(cluster, topic, from_start=from_start) as reader:
        while True:
            if records := await reader.poll(POLL_S):
                yield decisions_in(records)


def decisions_in(records: Iterable[Record]) -> list[Decision]:
    """Return the decisions of records, JSON or Arrow, as objects of the same form."""
    decisions: list[Decision] = []
    for record in records:
        if record.value is None:
            continue
        if record.headers and is_arrow(record.headers):
            with pa.ipc.open_stream(record.value) as stream:
                decisions += stream.read_all().to_pylist()
        else:
            decisions.append(msgspec.json.decode(record.value, type=dict[str, Any]))
    return decisions


def _printer(args: argparse.Namespace) -> Callable[[list[Decision]], None]:
    if args.json:
        return _print_json
    return _print_table if sys.stdout.isatty() else _print_lines


def _print_json(decisions: list[Decision]) -> None:
    sys.stdout.writelines(json.dumps(d, default=_plain) + "\n" for d in decisions)
    sys.stdout.flush()


def _plain(value: object) -> str:
    assert isinstance(value, datetime)
    return value.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _print_lines(decisions: list[Decision]) -> None:
    for decision in decisions:
        sys.stdout.write("\t".join(_shown(decision[field]) for _, field, _ in COLUMNS) + "\n")
    sys.stdout.flush()


def _print_table(decisions: list[Decision]) -> None:
    table = Table(box=None, pad_edge=False)
    for name, _, justify in COLUMNS:
        table.add_column(name, justify="right" if justify == "right" else "left")
    for decision in decisions:
        table.add_row(*(_shown(decision[field]) for _, field, _ in COLUMNS))
    Console().print(table)


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "-" if value is None else str(value)
