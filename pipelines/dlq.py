"""`aurora dlq list|show|redrive`: what was no request, why, and sending it again."""

import argparse
import asyncio
import sys
import time
from datetime import UTC, datetime
from typing import Any

from aurora_batch import dead_letters
from aurora_batch.dead_letters import Place
from aurora_batch.errors import AuroraError, UsageError
from aurora_batch.settings_types import Seconds, convert
from pipelines import cli_options, dlq_output, kafka_options, logs, redrive

EPILOG = (
    "examples:\n"
    "  aurora dlq list --since 1h --code clock_skew\n"
    "  aurora dlq show aurora.requests:3:41\n"
    "  aurora dlq redrive --code clock_skew          what would be sent again\n"
    "  aurora dlq redrive --code clock_skew --yes    sends it"
)


def register(subparsers: Any) -> None:
    """Add `aurora dlq`."""
    parser = subparsers.add_parser(
        "dlq",
        help="list, show and send again what was no request",
        description=(
            "Look at the dead letters of kafka.topics.dead_letters; send them again. Each ACTION\n"
            "has --kafka HOST:PORT, --config DIR, --set KEY=VALUE, --quiet and --json."
        ),
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = _action(actions, "list", "which there are, and how many of each code", _list)
    _choices(listing)
    listing.add_argument("--count", type=int, metavar="N", help="only the last N")
    listing.add_argument("--summary", action="store_true", help="only how many of each code")
    showing = _action(actions, "show", "all about one, with its original bytes", _show)
    showing.add_argument("place", metavar="TOPIC:PARTITION:OFFSET[:ROW]", help="of the original")
    again = _action(actions, "redrive", "send the original bytes again, each at most once", _again)
    _choices(again)
    again.add_argument(
        "--offset",
        action="append",
        default=[],
        metavar="[TOPIC:]PARTITION:OFFSET[:ROW]",
        help="only this one, as `list` names it; may be repeated",
    )
    again.add_argument(
        "--force", action="store_true", help="also what would be a dead letter again"
    )
    again.add_argument("--yes", action="store_true", help="send; otherwise only say what would be")
    again.add_argument("--dry-run", action="store_true", help="say what would be (the default)")


def _action(actions: Any, name: str, text: str, run: Any) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kafka_options.add(parser)
    cli_options.common(parser)
    parser.set_defaults(run=run)
    return parser


def _choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--code", action="append", default=[], help="only these, such as clock_skew; repeatable"
    )
    parser.add_argument("--partition", type=int, metavar="P", help="of the original")
    parser.add_argument(
        "--since", metavar="TIME", help="died since: 90s, 30m, 2h, or 2026-01-01T12:00:00Z"
    )


def _chosen(args: argparse.Namespace, places: list[Place]) -> redrive.Choice:
    return dead_letters.chooser(
        codes=args.code,
        places=places,
        partition=args.partition,
        since_us=None if args.since is None else _since(args.since),
    )


def _since(text: str) -> int:
    """Return a time, or a time ago, in UTC microseconds."""
    try:
        when = datetime.fromisoformat(text)
        return round(when.replace(tzinfo=when.tzinfo or UTC).timestamp() * 1e6)
    except ValueError:
        pass
    try:
        ago = convert(text, Seconds)
    except ValueError:
        expected = "expected a duration such as 30m, or a time such as 2026-01-01T12:00:00Z"
        raise UsageError(f"--since {text}: {expected}") from None
    assert isinstance(ago, float)
    return round((time.time() - ago) * 1e6)


def _place(option: str, text: str, topic: str) -> Place:
    try:
        return Place.parse(text, topic)
    except ValueError as error:
        raise UsageError(f"{option}{text}: {error}") from None


def _list(args: argparse.Namespace) -> int:
    """List dead letters."""
    logs.silence_client()
    if args.count is not None and args.count < 1:
        raise UsageError(f"--count {args.count}: expected a number >= 1")
    loaded = kafka_options.load(args)
    chosen = _chosen(args, [])
    found = asyncio.run(redrive.scan(kafka_options.cluster(loaded), loaded.settings, chosen))
    if args.count is not None:
        found.letters = found.letters[-args.count :]
    if not args.summary:
        dlq_output.listed(found, as_json=args.json)
    if args.summary or (not args.quiet and not args.json):
        dlq_output.summed(found, as_json=args.json)
    return 0


def _show(args: argparse.Namespace) -> int:
    """Show one dead letter; all rows of an Arrow payload where no row is said."""
    logs.silence_client()
    loaded = kafka_options.load(args)
    place = _place("", args.place, loaded.settings.kafka.topics.requests)
    found = asyncio.run(
        redrive.scan(
            kafka_options.cluster(loaded),
            loaded.settings,
            dead_letters.chooser(places=[place]),
            keep_values=True,
        )
    )
    if not found.letters:
        raise AuroraError(f"no dead letter of {place}; aurora dlq list names those there are")
    dlq_output.shown(found, as_json=args.json)
    return 0


def _again(args: argparse.Namespace) -> int:
    """Send dead letters again, or say what would be sent."""
    logs.silence_client()
    if args.yes and args.dry_run:
        raise UsageError("--yes and --dry-run: expected one of them")
    loaded = kafka_options.load(args)
    settings, cluster = loaded.settings, kafka_options.cluster(loaded)
    topic = settings.kafka.topics.requests
    chosen = _chosen(args, [_place("--offset ", text, topic) for text in args.offset])
    if args.yes:
        if settings.kafka.transactional == "off" and not args.quiet:
            sys.stderr.write("aurora: without transactions a crash may send some twice\n")
        sending = redrive.redrive(cluster, settings, chosen, args.code, force=args.force)
        plan = asyncio.run(sending)
    else:
        found = asyncio.run(redrive.scan(cluster, settings, chosen))
        plan = redrive.planned(found, args.code, force=args.force)
    dlq_output.redriven(plan, topic, done=args.yes, as_json=args.json)
    return 0
