"""Workers that can be frozen, from a nursery (`tests.fire.nursery`)."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
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
    """Starts workers with the settings of a folder."""

    def __init__(self, process: asyncio.subprocess.Process, settings: Path, logs: Path) -> None:
        self._process = process
        self._settings = settings
        self._logs = logs
        self._started = 0

    async def ask(self, verb: str, what: Any) -> Any:
        """Send a command and return the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({verb: what}).encode() + b"\n")
        line = await self._process.stdout.readline()
        assert line, "the nursery has ended"
        return json.loads(line)

    async def start(self, place: Frozen) -> "ForkedWorker":
        """Start a worker that freezes at a place once it is armed."""
        self._started += 1
        log = self._logs / f"worker-{self._started}.log"
        order = {"arguments": ["--config", str(self._settings)], "output": str(log)}
        pid = await self.ask("start", {**order, **vars(place)})
        return ForkedWorker(self, pid, log)


class ForkedWorker:
    """A worker process."""

    def __init__(self, nursery: Nursery, pid: int, log: Path) -> None:
        self._nursery = nursery
        self._pid = pid
        self._log = log

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


@contextlib.asynccontextmanager
async def nursery(settings: Path, logs: Path) -> AsyncIterator[Nursery]:
    """Run a nursery; at the end it and its workers have ended."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fire.nursery", stdin=PIPE, stdout=PIPE, env=plain_environ(),
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    try:
        yield Nursery(process, settings, logs)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
