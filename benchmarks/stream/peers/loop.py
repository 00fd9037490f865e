"""A loop with aiokafka that decides record by record, a transaction every 100 ms.

python -m benchmarks.stream.peers.loop SPEC.json
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from benchmarks.stream.peers.greedy import Greedy

COMMIT_S = 0.1
TAKEN = 1_000  # records at once


async def run(spec: dict[str, Any]) -> None:
    """Read, decide, send and commit until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    greedy = Greedy(spec["providers"], spec["router"])
    consumer = AIOKafkaConsumer(
        spec["requests"], bootstrap_servers=spec["bootstrap"], group_id=spec["group"],
        enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed",
    )  # fmt: skip
    producer = AIOKafkaProducer(
        bootstrap_servers=spec["bootstrap"], transactional_id=spec["group"], acks="all",
        linger_ms=5, max_batch_size=1 << 18,
    )  # fmt: skip
    async with consumer, producer:
        while not stop.is_set():
            await transaction(consumer, producer, greedy, spec)


async def transaction(
    consumer: AIOKafkaConsumer, producer: AIOKafkaProducer, greedy: Greedy, spec: dict[str, Any]
) -> None:
    """Decide what comes in 100 ms, and commit it."""
    until = time.monotonic() + COMMIT_S
    offsets: dict[TopicPartition, int] = {}
    waiting = []
    async with producer.transaction():
        while (left := until - time.monotonic()) > 0:
            found = await consumer.getmany(timeout_ms=int(left * 1000), max_records=TAKEN)
            for place, records in found.items():
                for record in records:
                    decision = greedy.decide(json.loads(record.value))
                    value = json.dumps(decision).encode()
                    waiting.append(
                        await producer.send(spec["decisions"], value, partition=place.partition)
                    )
                offsets[place] = records[-1].offset + 1
        for sent in waiting:
            await sent
        if offsets:
            await producer.send_offsets_to_transaction(offsets, spec["group"])


if __name__ == "__main__":
    asyncio.run(run(json.loads(Path(sys.argv[1]).read_text())))
