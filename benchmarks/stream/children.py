"""Processes of a benchmark: started apart, listened to, and ended whatever happens."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any

from tests.streaming import plain_environ

ROOT = Path(__file__).parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
END_S = 60.0  # for a process to finish what it has begun
LINES = 200  # of what it said last, kept for an error


class Failed(Exception):
    """A process ended, or did not say in time what it was to say."""


class Child:
    """A Python module as a process in a session of its own, which Ctrl-C does not reach.

    Parameters
    ----------
    module, arguments
        As after `python -m`.
    python
        The interpreter.
    environ
        Variables beside those that there are.
    """

    def __init__(
        self, module: str, arguments: Sequence[str], python: str | Path = sys.executable,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self.name = module.rpartition(".")[2]
        self._process = subprocess.Popen(
            [str(python), "-m", module, *arguments], cwd=ROOT,
            env={**plain_environ(), **environ},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self._said: list[str] = []
        self._heard = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._heard:
                self._said.append(line)
                self._heard.notify_all()
        with self._heard:
            self._heard.notify_all()

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def line(self, text: str, within_s: float = END_S) -> str:
        """Return the first line that contains a text; raises `Failed` where none comes."""
        deadline, seen = time.monotonic() + within_s, 0
        while True:
            with self._heard:
                for said in self._said[seen:]:
                    if text in said:
                        return said
                seen = len(self._said)
                ended = not self._thread.is_alive() or not self.running
                if time.monotonic() > deadline or (ended and not self._thread.is_alive()):
                    raise Failed(f"{self.name} did not say {text!r}: {self.last_words}")
                self._heard.wait(0.2)

    def go(self) -> None:
        """Let a process begin that waits for a line."""
        self.line("encoded")
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def latest(self, key: str) -> float | None:
        """Return the number that the last line, a JSON object, states under a key."""
        with self._heard:
            for said in reversed(self._said):
                if said.startswith("{") and f'"{key}"' in said:
                    return float(json.loads(said)[key])
        return None

    @property
    def last_words(self) -> str:
        """The end of what it said, in one line."""
        with self._heard:
            return " / ".join(map(str.strip, self._said[-6:])) or "it said nothing"

    def wait(self, within_s: float) -> None:
        """Wait until it ends by itself; raises `Failed` where it does not, or not well."""
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            raise Failed(f"{self.name} did not end: {self.last_words}") from None
        self._thread.join(END_S)
        if code != 0:
            raise Failed(f"{self.name} ended with {code}: {self.last_words}")

    def stop(self) -> None:
        """Ask it to finish what it has begun, and wait for that."""
        if self.running:
            self._process.send_signal(signal.SIGTERM)
        self.wait(END_S)

    def __enter__(self) -> "Child":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if self.running:
            self._process.kill()
        self._process.wait()
        self._thread.join(END_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()


def tool(module: str, spec: Mapping[str, Any]) -> Child:
    """Start a module of this package that takes one argument, an object as JSON."""
    return Child(f"benchmarks.stream.{module}", [json.dumps(spec)])


def cpu_s(pid: int) -> float:
    """Return the CPU seconds, user and system, that a process has used so far."""
    # The name of the program, in brackets, may contain anything.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
