"""`aurora stream` that kills itself at a named point of the commit protocol.

python -m tests.crashing POINT COUNT stream ...        dies the COUNT-th time it gets there
python -m tests.crashing POINT COUNT:PID stream ...    kills that process instead, and goes on
"""

import inspect
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.conn import AIOKafkaConnection
from aiokafka.protocol.transaction import EndTxnRequest

from aurora_batch import engine, replies, schema
from aurora_batch.progress import Account
from pipelines.cli import main

# Point -> where it lies: class or module, function, and whether before or after it.
POINTS: dict[str, tuple[Any, str, str]] = {
    "after poll": (engine, "decode", "before"),
    "after decode": (schema, "decode", "after"),
    "after solve": (replies, "decision_messages", "before"),
    "after decide": (engine, "decide", "after"),
    "in transaction": (AIOKafkaProducer, "begin_transaction", "after"),
    "after acknowledgement": (AIOKafkaProducer, "send_offsets_to_transaction", "before"),
    "after offsets": (AIOKafkaProducer, "commit_transaction", "before"),
    "commit sent": (AIOKafkaConnection, "send", "after"),  # written; nobody waits for the answer
    "after commit": (AIOKafkaProducer, "commit_transaction", "after"),
    "after all": (Account, "done", "after"),
    "before offsets alone": (AIOKafkaConsumer, "commit", "before"),
}


class Fuse:
    """Kills a process, this one unless told otherwise, the `count`-th time it is burnt."""

    def __init__(self, count: int, pid: int | None = None) -> None:
        self._left = count
        self._pid = os.getpid() if pid is None else pid

    def burn(self) -> None:
        """Die, or not yet."""
        self._left -= 1
        if not self._left:
            os.kill(self._pid, signal.SIGKILL)


def arm(point: str, burn: Callable[[], None]) -> None:
    """Replace the function at the point by one that burns there."""
    where, name, when = POINTS[point]
    original = getattr(where, name)
    before = burn if when == "before" else lambda: None
    after = burn if when == "after" else lambda: None

    def plain(*args: Any, **named: Any) -> Any:
        before()
        result = original(*args, **named)
        if name != "send" or isinstance(args[1], EndTxnRequest):
            after()
        return result

    async def waiting(*args: Any, **named: Any) -> Any:
        before()
        result = await original(*args, **named)
        after()
        return result

    waits = inspect.iscoroutinefunction(original)
    replacement: Callable[..., Any] = waiting if waits else plain
    setattr(where, name, replacement)


if __name__ == "__main__":
    arm(sys.argv[1], Fuse(*map(int, sys.argv[2].split(":"))).burn)
    sys.exit(main(sys.argv[3:]))
