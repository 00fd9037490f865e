"""Workers that can be frozen, from a nursery (`tests.fire.nursery`)."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.fire.nursery import STOPPED
from tests.streaming import plain_environ


@dataclass
class Frozen:
    """Where a worker is to freeze: see `tests.fire.nursery`."""

    point: str
    count: int = 1
    delay_s: float = 0.0


class Nursery:
    """Starts workers; one command at a time."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fire.nursery"],
            cwd=Path(__file__).parents[2],
            env=plain_environ(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._started = 0

    def _tell(self, verb: str, what: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({verb: what}).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the nursery has ended"
        return json.loads(line)

    async def ask(self, verb: str, what: Any) -> Any:
        """Send a command and return the answer."""
        return await asyncio.to_thread(self._tell, verb, what)

    async def start(self, folder: Path, place: Frozen) -> "ForkedWorker":
        """Start a worker, with the settings of a folder, that freezes once it is armed."""
        self._started += 1
        log = folder / f"worker-{self._started}.log"
        order = {"arguments": ["--config", str(folder)], "output": str(log)}
        pid = await self.ask("start", {**order, **vars(place)})
        return ForkedWorker(self, pid, log)

    def close(self) -> None:
        """End it, and with it its workers."""
        # Not communicate(): a command may still be waited for when a test has failed.
        self._process.send_signal(signal.SIGTERM)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


class ForkedWorker:
    """A worker process."""

    def __init__(self, nursery: Nursery, pid: int, log: Path) -> None:
        self._nursery = nursery
        self._pid = pid
        self._log = log

    @property
    def folder(self) -> Path:
        """Of its settings."""
        return self._log.parent

    @property
    def output(self) -> str:
        """What it has said."""
        return self._log.read_text()

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self._pid, number)

    async def stopped(self) -> None:
        """Wait until it has frozen."""
        status = await self._nursery.ask("stopped", self._pid)
        assert status == STOPPED, f"ended with {status}:\n{self.output}"

    async def ended(self) -> int:
        """Return the exit code, once it has ended."""
        code: int = await self._nursery.ask("ended", self._pid)
        return code

    async def kill(self) -> None:
        """End it as a power cut would."""
        self.signal(signal.SIGKILL)
        await self.ended()


@contextlib.contextmanager
def nursery() -> Iterator[Nursery]:
    """Run a nursery; at the end it and its workers have ended."""
    running = Nursery()
    try:
        yield running
    finally:
        running.close()
