"""A bare loop with aiokafka: micro-batches, a transaction each, and no decision at all.

What is left of a latency when nothing is scored, solved or said: 2 ms of work stand for that, and
each request is answered with its id. Record batches are the library's, a Python object a record.

python -m benchmarks.stream.peers.bare SPEC.json
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

WORK_S = 0.002  # of one core, for each micro-batch
BATCH_BYTES = 1 << 20
ID = len(b'{"request_id":"req-000000000"')  # how the feed's requests begin

Found = dict[TopicPartition, list[Any]]


async def run(spec: dict[str, Any]) -> None:
    """Read, wait, send and commit until SIGTERM."""
    stop, linger_s = asyncio.Event(), spec["router"]["batch"]["linger_ms"] / 1000
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=spec["bootstrap"], group_id=spec["group"],
        enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed",
    )  # fmt: skip
    producer = AIOKafkaProducer(
        bootstrap_servers=spec["bootstrap"], transactional_id=spec["group"], acks="all",
        max_batch_size=BATCH_BYTES,
    )  # fmt: skip
    async with consumer, producer:
        consumer.assign([TopicPartition(spec["requests"], p) for p in range(spec["partitions"])])
        sys.stdout.write("begins\n")
        sys.stdout.flush()
        while not stop.is_set():
            found = await gathered(consumer, linger_s)
            if found:
                await asyncio.to_thread(work)
                await transaction(producer, found, spec)


async def gathered(consumer: AIOKafkaConsumer, linger_s: float) -> Found:
    """Return what came within the linger of the first record."""
    found: Found = await consumer.getmany(timeout_ms=200)
    until = time.monotonic() + linger_s
    while found and (left := until - time.monotonic()) > 0:
        more = await consumer.getmany(timeout_ms=max(1, round(left * 1000)))
        for place, records in more.items():
            found.setdefault(place, []).extend(records)
    return found


def work() -> None:
    """Keep a core busy for as long as a decision may take."""
    until = time.perf_counter() + WORK_S
    while time.perf_counter() < until:
        pass


async def transaction(producer: AIOKafkaProducer, found: Found, spec: dict[str, Any]) -> None:
    """Answer each request with its id, and commit."""
    async with producer.transaction():
        waiting = []
        for place, records in found.items():
            batch = producer.create_batch()
            for record in records:
                value = record.value[:ID] + b"}"
                if batch.append(key=None, value=value, timestamp=None) is None:
                    raise SystemExit("a micro-batch does not fit into a record batch")
            batch.close()
            topic, partition = spec["decisions"], place.partition
            waiting.append(await producer.send_batch(batch, topic, partition=partition))
        for sent in waiting:
            await sent
        offsets = {place: records[-1].offset + 1 for place, records in found.items()}
        await producer.send_offsets_to_transaction(offsets, spec["group"])


if __name__ == "__main__":
    asyncio.run(run(json.loads(Path(sys.argv[1]).read_text())))
