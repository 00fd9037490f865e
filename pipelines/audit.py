"""`aurora audit`: every committed decision, made again from the log and compared byte for byte.

    decisions, dead letters --> trails (batch boundaries, units of work)  --.
                            '-> tally of what was committed                 |-> equal, or not
    requests, cut as the trails say -> engine.decide -> tally of the same --'

A tally holds a sum for each batch, not its decisions, so an audit's memory grows with the number of
batches only.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec
import pyarrow as pa
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aurora_batch import engine, router
from aurora_batch.adapters.kafka import Cluster, Reader
from aurora_batch.engine import Decided
from aurora_batch.errors import AuroraError
from aurora_batch.fleet import Fleet, fleet_from_settings
from aurora_batch.schema import Message, Record
from aurora_batch.schema.arrow_reading import is_arrow
from aurora_batch.settings import Settings
from aurora_batch.trail import Trail, trail_in, version_of
from pipelines import cli_options, kafka_options, logs
from pipelines.shards import WHOLE, Shard

SHOWN = 10  # batches that differ
_MODULUS = 1 << 128


class AuditError(AuroraError):
    """The decisions cannot be made again from what the broker still has, or with these settings."""


class Tally:
    """How many messages each batch has, and an order-independent sum of their digests."""

    def __init__(self) -> None:
        self.sums: dict[str, tuple[int, int]] = {}

    def add(self, messages: Iterable[Message | Record]) -> int:
        """Take messages in; return how many."""
        total = 0
        for m in messages:
            digest = int.from_bytes(blake2b(_bytes_of(m), digest_size=16).digest())
            count, so_far = self.sums.get(name := _batch_of(m), (0, 0))
            self.sums[name] = count + 1, (so_far + digest) % _MODULUS
            total += 1
        return total

    def differing(self, other: "Tally") -> list[str]:
        """Return, in words, what is not the same."""
        names = sorted(self.sums.keys() | other.sums.keys())
        return [
            f"{name}: {ours[0]} committed, {theirs[0]} made again"
            + (", not the same bytes" if ours[0] == theirs[0] else "")
            for name in names
            if (ours := self.sums.get(name, (0, 0))) != (theirs := other.sums.get(name, (0, 0)))
        ]


@dataclass
class Audited:
    """What an audit found."""

    micro_batches: int = 0
    decisions: int = 0
    dead_letters: int = 0
    struck: int = 0  # solves that the clock had ended
    shards: int = 0
    differences: list[str] = field(default_factory=list)


def register(subparsers: Any) -> None:
    """Add `aurora audit`."""
    parser = subparsers.add_parser(
        "audit",
        help="make every committed decision again and compare",
        description=(
            "Read the topics from their start, cut the requests into the batches that the\n"
            "decisions name, decide them again offline, and compare byte for byte. Needs the\n"
            "settings that the workers had, and a log that is complete from its first batch on.\n"
            "Exit 0: the same; 1: not, or not to be told."
        ),
        epilog="example:\n  aurora audit --kafka localhost:9092",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kafka_options.add(parser)
    cli_options.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Audit and print."""
    logs.silence_client()
    loaded = kafka_options.load(args)
    bar = Progress(
        TextColumn("deciding again"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True, disable=args.quiet,
    )  # fmt: skip
    with bar:
        found = asyncio.run(audit(kafka_options.cluster(loaded), loaded.settings, bar))
    if args.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        sys.stdout.writelines(f"{line}\n" for line in _lines(found))
    return 1 if found.differences else 0


def _lines(found: Audited) -> Iterator[str]:
    yield (
        f"{found.micro_batches:,} micro-batches of {found.shards} shards decided again: "
        f"{found.decisions:,} decisions, {found.dead_letters:,} dead letters; "
        f"{found.struck} solves ended by the clock"
    )
    if not found.differences:
        yield "the same, byte for byte"
    yield from found.differences[:SHOWN]
    if len(found.differences) > SHOWN:
        yield f"and {len(found.differences) - SHOWN} more"


async def audit(cluster: Cluster, settings: Settings, bar: Progress | None = None) -> Audited:
    """Make every committed decision of all shards again.

    Raises
    ------
    AuditError
        Settings or fleet are others, the log is not complete, or there is nothing to audit.
    """
    topics = settings.kafka.topics
    found, committed, again = Audited(), Tally(), Tally()
    trails = [t async for t in _trails(cluster, (topics.decisions, topics.dead_letters), committed)]
    if not trails:
        raise AuditError(
            f"no decision on {topics.decisions} says which batch it was made in: nothing was "
            "decided there yet, or by a version that did not say so"
        )
    by_shard: dict[str, list[Trail]] = {}
    for trail in sorted(trails, key=lambda t: t.begins):
        by_shard.setdefault(trail.shard, []).append(trail)
    task = None if bar is None else bar.add_task("", total=len(trails))
    async with Reader(cluster, topics.requests, from_start=True) as reader:
        for label, of_shard in sorted(by_shard.items()):
            shard = Shard.parse(label) if label else WHOLE
            async for made in made_again(reader, shard, of_shard, settings):
                found.decisions += again.add(made.decision_messages)
                found.dead_letters += again.add(made.dead_letters)
                found.struck += sum(b.struck for b in made.batches)
                if bar is not None and task is not None:
                    bar.advance(task)
    found.micro_batches, found.shards = len(trails), len(by_shard)
    found.differences = committed.differing(again)
    return found


async def _trails(cluster: Cluster, topics: Sequence[str], tally: Tally) -> AsyncIterator[Trail]:
    """Yield the trails of topics, and take all of their messages into the tally."""
    for topic in topics:
        async with Reader(cluster, topic, from_start=True) as reader:
            async for records in reader.parts(settled=True):
                for r in records:
                    try:
                        if r.value is not None or _is_dead(r):
                            tally.add([r])
                        trail = trail_in(r.headers)
                    except (msgspec.DecodeError, pa.ArrowInvalid, KeyError) as error:
                        place = f"{topic}/{r.partition} at offset {r.offset}"
                        raise AuditError(
                            f"{place} is nothing that a worker sent: {error}"
                        ) from None
                    if trail is not None:
                        yield trail


async def made_again(
    reader: Reader, shard: Shard, trails: Sequence[Trail], settings: Settings
) -> AsyncIterator[Decided]:
    """Yield what becomes of each micro-batch of a shard when it is decided again."""
    settings = shard.share(settings)
    fleet = fleet_from_settings(settings.providers)
    state = router.initial_state(fleet, settings, shard.label)
    reached: dict[int, int] = {}
    for trail in trails:
        _expect(trail, fleet, settings)
        if trail.begins != (state.ledger.window_us, state.ledger.batches):
            raise AuditError(
                f"shard {shard}: a batch is missing, or there twice, before {_named(trail)}; the "
                "topics must be complete from the shard's first batch on, and shards never divided "
                "anew"
            )
        low = {p: reached.get(p, first) for p, (first, _) in trail.offsets.items()}
        high = {p: end for p, (_, end) in trail.offsets.items()}
        records = await reader.between(low, high)
        firsts = {r.partition: r.offset for r in reversed(records)}
        if any(firsts[p] < trail.offsets[p][0] for p in firsts):
            raise AuditError(f"shard {shard}: records before {_named(trail)} were never decided")
        if any(firsts.get(p) != first for p, (first, _) in trail.offsets.items()):
            raise AuditError(
                f"requests of {_named(trail)} are no longer on their topic; its retention was "
                "shorter than that of the decisions"
            )
        reached.update(high)
        read = await asyncio.to_thread(engine.decode, records, settings)
        made = await asyncio.to_thread(engine.decide, records, read, fleet, state, settings, trail)
        state = made.state
        yield made


def _expect(trail: Trail, fleet: Fleet, settings: Settings) -> None:
    """Raise where other settings decided."""
    for what, theirs, ours in (
        ("fleet", trail.fleet, fleet.version),
        ("settings", trail.settings, version_of(settings)),
    ):
        if theirs != ours:
            raise AuditError(
                f"{_named(trail)} was decided with {what} {theirs}, these are {ours}; give the "
                "configuration that the worker had (--config, --set)"
            )


def _named(trail: Trail) -> str:
    if trail.batches:
        return f"batch {trail.batches[0].id}"
    return f"the micro-batch of offsets {json.dumps(trail.offsets)}"


class _Named(msgspec.Struct):
    batch_id: str | None = None


def _batch_of(m: Message | Record) -> str:
    """Return the batch that a decision belongs to; dead letters are told apart by partition."""
    if _is_dead(m):
        return f"dead letters of partition {dict(m.headers)['aurora-partition'].decode()}"
    value = m.value or b""
    if m.headers and is_arrow(m.headers):
        with pa.ipc.open_stream(value) as stream:
            return str(stream.read_all()["batch_id"][0])
    return str(msgspec.json.decode(value, type=_Named).batch_id)


def _is_dead(m: Message | Record) -> bool:
    """Whether it is a dead letter; the mark of a redrive beside it is none."""
    return any(name == "aurora-reason" for name, _ in m.headers)


def _bytes_of(m: Message | Record) -> bytes:
    """Return all that a reader of the message sees."""
    return msgspec.msgpack.encode((m.key, m.value, m.headers))
