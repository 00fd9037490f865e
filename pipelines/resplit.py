"""`aurora shards`: how a topic is divided between workers, and a change of that.

A change ends all workers (each one's transactional id is taken from it), adds up what they left of
each pool and budget in the latest window, and gives each new shard its part of that, in the same
transaction as the new agreement. So no window is ever sold beyond its capacity.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import numpy as np

from aurora_batch import snapshots
from aurora_batch.adapters.kafka import Cluster, Reader, Sink
from aurora_batch.errors import UsageError
from aurora_batch.fleet import Fleet, fleet_from_settings
from aurora_batch.ledger import NO_WINDOW, Ledger
from aurora_batch.router import RouterState
from aurora_batch.schema import Message
from aurora_batch.scoring import Tenants
from aurora_batch.settings import Settings
from pipelines import agreement, cli_options, kafka_options, logs
from pipelines.agreement import Agreement
from pipelines.shards import Shard


@dataclass(frozen=True)
class Part:
    """A shard with its part of the fleet and of the budgets."""

    shard: Shard
    settings: Settings
    fleet: Fleet
    tenants: Tenants

    @classmethod
    def of(cls, shard: Shard, settings: Settings) -> "Part":
        """Return the shard's part of the settings of all."""
        own = shard.share(settings)
        fleet = fleet_from_settings(own.providers)
        return cls(shard, own, fleet, Tenants.from_settings(own))

    def identity(self) -> str:
        """Return the name that one worker at a time may have."""
        kafka = self.settings.kafka
        return self.shard.identity(kafka.group, kafka.topics.requests)


def register(subparsers: Any) -> None:
    """Add `aurora shards`."""
    parser = subparsers.add_parser(
        "shards",
        help="show, or change, how a topic is divided between workers",
        description=(
            "Show into how many shards the topic of requests is divided, and how pools are; with\n"
            "--to N, divide it anew. Stop all workers before (one that runs is ended, where there\n"
            "are transactions) and start N after: what is left of pools and budgets in the\n"
            "window is divided between the new shards, and the recent requests that reserve\n"
            "prices come from are collected anew."
        ),
        epilog="example:\n  aurora shards --kafka localhost:9092 --to 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kafka_options.add(parser)
    parser.add_argument("--to", type=int, metavar="N", help="divide into N shards, by kafka.split")
    cli_options.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show or change."""
    logs.silence_client()
    if args.to is not None and args.to < 1:
        raise UsageError(f"--to {args.to}: expected a number >= 1")
    loaded = kafka_options.load(args)
    cluster = kafka_options.cluster(loaded)
    known, wanted = asyncio.run(divide(cluster, loaded.settings, args.to))
    if args.json:
        said = {"before": known, "now": wanted}
        sys.stdout.write(json.dumps(msgspec.to_builtins(said)) + "\n")
    elif wanted == known:
        sys.stdout.write(f"{known or 'no worker has begun yet'}\n")
    else:
        sys.stdout.write(f"{wanted}; before: {known or 'none'}\n")
    return 0


async def divide(
    cluster: Cluster, settings: Settings, to: int | None
) -> tuple[Agreement | None, Agreement | None]:
    """Return how the topic was divided and how it is; divide it into `to` shards where given."""
    topics = settings.kafka.topics
    counts = await cluster.partitions([topics.requests, topics.ledger])
    key = agreement.key_of(settings.kafka)
    async with AsyncExitStack() as stack:
        reader = await stack.enter_async_context(Reader(cluster, topics.ledger, from_start=True))
        name = None if to is None else agreement.transactional_id(settings.kafka, key.decode())
        sink = Sink(cluster, counts, name)
        stack.push_async_callback(sink.close)
        if to is not None:
            await sink.open()  # whoever else divides it now is fenced
        known = await agreement.read(cluster, reader, sink.partition_of(topics.ledger, key))
        if to is None:
            return known, known
        wanted = agreement.division(settings.kafka, to, counts[topics.requests])
        new = [Part.of(Shard(i, to), settings) for i in range(to)]
        for part in new:
            part.shard.partitions(wanted.partitions)  # raises where a shard would have none
        messages = [Message(msgspec.json.encode(wanted), key)]
        if known is not None:
            kafka = msgspec.structs.replace(
                settings.kafka, split=known.split, partitions=known.partitions
            )
            before = msgspec.structs.replace(settings, kafka=kafka)
            old = [Part.of(Shard(i, known.shards), before) for i in range(known.shards)]
            for part in old:
                await _end(cluster, counts, part)
            messages += [Message(None, part.identity().encode()) for part in old]
            messages += divided(old, [await _ledger(reader, sink, p) for p in old], new)
        await sink.commit_alone(sink.stage({topics.ledger: messages}))
    return known, wanted


async def _end(cluster: Cluster, counts: dict[str, int], part: Part) -> None:
    """Take the transactional id from the worker of a shard: it ends, its transaction too."""
    name = agreement.transactional_id(part.settings.kafka, part.identity())
    sink = Sink(cluster, counts, name)
    try:
        await sink.open()
    finally:
        await sink.close()


async def _ledger(reader: Reader, sink: Sink, part: Part) -> Ledger | None:
    key = part.identity().encode()
    topic = part.settings.kafka.topics.ledger
    saved = await reader.last_value(key, sink.partition_of(topic, key))
    return None if saved is None else snapshots.restore(saved, part.settings).ledger


def divided(
    old: Sequence[Part], ledgers: Sequence[Ledger | None], new: Sequence[Part]
) -> list[Message]:
    """Return the snapshots of the new shards: of each pool and budget the part that is left.

    Where nothing was decided yet there are none, as all is whole.
    """
    known = [ledger for ledger in ledgers if ledger is not None]
    if not known:
        return []
    window_us = max(ledger.window_us for ledger in known)
    entered = [
        (ledger or Ledger.whole(p.fleet, p.tenants, NO_WINDOW)).enter(window_us, p.fleet, p.tenants)
        for ledger, p in zip(ledgers, old, strict=True)
    ]
    pool = _left([e.pool_left for e in entered], [p.fleet.pool_capacity for p in old])
    budget = _left([e.budget_left for e in entered], [p.tenants.budget for p in old])
    number = max(e.batches for e in entered)  # so that no batch id comes twice
    messages = []
    for part in new:
        whole = Ledger.whole(part.fleet, part.tenants, window_us)
        left = replace(
            whole,
            batches=number,
            pool_left=whole.pool_left * pool,
            budget_left=whole.budget_left * budget,
        )
        state = RouterState(left, shard=part.shard.label)
        messages.append(Message(snapshots.save(state, sample=False), part.identity().encode()))
    return messages


def _left(left: Sequence[Any], whole: Sequence[Any]) -> Any:
    """Return the part that is left of each pool or budget, of all shards together; in [0, 1]."""
    total = np.sum(whole, axis=0)
    # A unit in the last place less: products and their sums may be rounded up.
    part = np.sum(left, axis=0) / np.where(total > 0, total, 1.0) * (1 - 1e-12)
    return np.clip(part, 0.0, 1.0)
