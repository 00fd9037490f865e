"""`aurora topics create`: requests, decisions, dead letters, outcomes, ledger."""

import argparse
import asyncio
import sys
from typing import Any

from aurora_batch.adapters.kafka import create_topics
from aurora_batch.adapters.kafka.topics import COMPACTED
from pipelines import cli_options, kafka_options, logs


def register(subparsers: Any) -> None:
    """Add `aurora topics`."""
    parser = subparsers.add_parser(
        "topics",
        help="create the topics",
        description="Create the five topics of kafka.topics; the ledger is compacted.",
        epilog="example:\n  aurora topics create --kafka localhost:9092 --partitions 12",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("action", choices=["create"], help="what to do")
    kafka_options.add(parser)
    parser.add_argument(
        "--partitions", type=int, metavar="N", help="of each topic (default: kafka.partitions, 4)"
    )
    parser.add_argument(
        "--replication", type=int, metavar="R", help="copies (default: kafka.replication, 1)"
    )
    cli_options.common(parser, figures=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Create the topics that do not exist; say which do."""
    logs.silence_client()
    for name in ("partitions", "replication"):
        if (value := getattr(args, name)) is not None:
            args.set.append(f"kafka.{name}={value}")
    loaded = kafka_options.load(args)
    kafka = loaded.settings.kafka
    names = [getattr(kafka.topics, field) for field in kafka.topics.__struct_fields__]
    wanted = {name: COMPACTED if name == kafka.topics.ledger else {} for name in names}
    created = asyncio.run(
        create_topics(kafka_options.cluster(loaded), wanted, kafka.partitions, kafka.replication)
    )
    for topic in created:
        if not args.quiet:
            what = "existed already, left as it is" if topic.existed else "created"
            sys.stdout.write(f"{topic.topic}\t{what}\n")
    return 0
