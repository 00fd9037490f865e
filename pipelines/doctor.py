"""`aurora doctor`: what is unsafe about broker, topics and settings, and what to do about it."""

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from aurora_batch import diagnosis
from aurora_batch.adapters.kafka import inspect_cluster
from aurora_batch.errors import UsageError
from aurora_batch.findings import Finding, ok, unsafe, warning
from pipelines import cli_options, kafka_options, logs
from pipelines.shards import Shard

LEAST_CLIENT = (0, 14)  # earlier ones cannot speak to Kafka 4
COLORS = {"ok": "green", "warning": "yellow", "unsafe": "bold red"}


def register(subparsers: Any) -> None:
    """Add `aurora doctor`."""
    parser = subparsers.add_parser(
        "doctor",
        help="what is unsafe about broker, topics and settings, and what to do",
        description=(
            "Look at broker, topics, offsets, transactions, shards and this machine; change\n"
            "nothing. Each line is ok, warning or unsafe, with what to do. Exit 1 where one is\n"
            "unsafe, or no broker answers."
        ),
        epilog="example:\n  aurora doctor --kafka broker:9092 --shards 2",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kafka_options.add(parser)
    parser.add_argument(
        "--shards", type=int, default=1, metavar="N", help="workers that share the work (default 1)"
    )
    cli_options.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Look, say what is found; return 1 where something is unsafe."""
    logs.silence_client()
    if not 1 <= args.shards < 1_000_000:
        raise UsageError(f"--shards {args.shards}: expected a number >= 1")
    findings = asyncio.run(_found(args))
    if args.json:
        _print_json(findings)
    elif sys.stdout.isatty():
        _print_table(_wanted(findings, args.quiet))
    else:
        for f in _wanted(findings, args.quiet):
            sys.stdout.write("\t".join((f.status, f.check, f.what, f.todo)).rstrip() + "\n")
    return int(any(f.status == "unsafe" for f in findings))


def _wanted(findings: Sequence[Finding], quiet: bool) -> list[Finding]:
    return [f for f in findings if f.status != "ok" or not quiet]


async def _found(args: argparse.Namespace) -> list[Finding]:
    from pipelines.session import RECOMMIT_S  # here, where `--help` need not wait for it

    loaded = kafka_options.load(args)
    kafka = loaded.settings.kafka
    shards = {
        shard.identity(kafka.group, kafka.topics.requests): shard
        for shard in (Shard(i, args.shards) for i in range(args.shards))
    }
    view = await inspect_cluster(kafka_options.cluster(loaded), list(shards))
    topic = view.topics.get(kafka.topics.requests)
    count = 0 if topic is None else topic.partitions
    owned = {name: range(s.index, count, s.count) for name, s in shards.items() if topic}
    judged = diagnosis.findings(
        view, loaded.settings, owned, now_us=time.time_ns() // 1000, recommit_s=RECOMMIT_S
    )
    return [*here(), *judged]


def here() -> Iterator[Finding]:
    """Yield what there is to say about this machine."""
    client = version("aiokafka")
    said = f"Python {platform.python_version()}, aiokafka {client}"
    if tuple(map(int, client.split(".")[:2])) < LEAST_CLIENT:
        yield unsafe("client", said, "pip install 'aurora-batch[kafka]'")
    else:
        yield ok("client", said)
    yield _cache()


def _cache() -> Finding:
    """Say whether compiled kernels are kept; otherwise each start compiles them anew."""
    todo = "NUMBA_CACHE_DIR=DIR, a folder that the worker may write to"
    try:
        from kernels.pairs import count_pairs
    except RuntimeError as error:  # Numba found no place for a cache
        return unsafe("numba cache", str(error).splitlines()[0], todo)
    folder = Path(str(count_pairs.stats.cache_path))
    known = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(known, os.W_OK):
        return warning("numba cache", f"{folder} cannot be written: each start compiles", todo)
    return ok("numba cache", str(folder))


def _print_json(findings: Sequence[Finding]) -> None:
    counts = Counter(f.status for f in findings)
    worst = next((s for s in ("unsafe", "warning") if counts[s]), "ok")
    rows = [f._asdict() for f in findings]
    sys.stdout.write(json.dumps({"status": worst, "findings": rows}) + "\n")


def _print_table(findings: Sequence[Finding]) -> None:
    table = Table(box=None, pad_edge=False)
    for name in ("", "what", "how it is", "what to do"):
        table.add_column(name, overflow="fold")
    for f in findings:
        cells = (f.status, f.check, f.what, f.todo)
        table.add_row(*(Text(c, style=COLORS[f.status] if c is f.status else "") for c in cells))
    Console().print(table)
