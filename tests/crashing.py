"""`aurora stream` that kills itself at a named point of the commit protocol.

python -m tests.crashing POINT COUNT stream ...     dies the COUNT-th time it gets there
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from aurora_batch import engine
from pipelines.cli import main

# Point -> where it lies: class or module, function, and whether before or after it.
POINTS: dict[str, tuple[Any, str, str]] = {
    "after poll": (engine, "decide", "before"),
    "after decide": (engine, "decide", "after"),
    "in transaction": (AIOKafkaProducer, "begin_transaction", "after"),
    "after acknowledgement": (AIOKafkaProducer, "send_offsets_to_transaction", "before"),
    "after offsets": (AIOKafkaProducer, "commit_transaction", "before"),
    "after commit": (AIOKafkaProducer, "commit_transaction", "after"),
    "before offsets alone": (AIOKafkaConsumer, "commit", "before"),
}


class Fuse:
    """Kills this process the `count`-th time it is burnt."""

    def __init__(self, count: int) -> None:
        self._left = count

    def burn(self) -> None:
        """Die, or not yet."""
        self._left -= 1
        if not self._left:
            os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str, burn: Callable[[], None]) -> None:
    """Replace the function at the point by one that burns there."""
    where, name, when = POINTS[point]
    original = getattr(where, name)
    before = burn if when == "before" else lambda: None
    after = burn if when == "after" else lambda: None

    def plain(*args: Any, **named: Any) -> Any:
        before()
        result = original(*args, **named)
        after()
        return result

    async def waiting(*args: Any, **named: Any) -> Any:
        before()
        result = await original(*args, **named)
        after()
        return result

    replacement: Callable[..., Any] = plain if where is engine else waiting
    setattr(where, name, replacement)


if __name__ == "__main__":
    arm(sys.argv[1], Fuse(int(sys.argv[2])).burn)
    sys.exit(main(sys.argv[3:]))
