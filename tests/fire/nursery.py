"""Workers that start soon: a process that has imported everything forks them.

    python -m tests.fire.nursery      commands on stdin, one line of JSON each; answers on stdout

    {"start": {"arguments": [...], "output": PATH, "point": NAME, "count": N, "delay_s": S}} -> pid
    {"stopped": PID}     waits until it has stopped (or ended)                     -> its status
    {"ended": PID}       waits until it has ended                                  -> exit code

A worker freezes itself (SIGSTOP) the `count`-th time that it comes to `point` (tests.crashing)
after SIGUSR1, `delay_s` seconds later. Each is a process of its own, with its own connections; only
the seconds of importing are shared. The nursery itself starts no thread before it forks.
"""

import json
import os
import signal
import sys
import threading
import time
from importlib import import_module
from typing import Any, NoReturn

from aurora_batch.fleet import fleet_from_settings
from aurora_batch.settings import Settings
from aurora_batch.warm_up import warm_up
from pipelines.cli import main
from tests.crashing import arm

STOPPED = "stopped"


class Freezer:
    """Stops this process, once, the `count`-th time it is burnt since SIGUSR1."""

    def __init__(self, count: int, delay_s: float) -> None:
        self._left = count
        self._delay_s = delay_s
        self._armed = False
        signal.signal(signal.SIGUSR1, self._arm)

    def _arm(self, *_: object) -> None:
        self._armed = True

    def burn(self) -> None:
        """Freeze, now or in a moment, or not yet."""
        if not self._armed:
            return
        self._left -= 1
        if self._left:
            return
        if self._delay_s:
            threading.Thread(target=self._later, daemon=True).start()
        else:
            os.kill(os.getpid(), signal.SIGSTOP)

    def _later(self) -> None:
        time.sleep(self._delay_s)
        os.kill(os.getpid(), signal.SIGSTOP)


def be_a_worker(output: str, point: str, count: int, delay_s: float, arguments: Any) -> NoReturn:
    """Become `aurora stream`, writing to a file."""
    code = 70
    try:
        log = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        arm(point, Freezer(count, delay_s).burn)
        code = main(["stream", *arguments])
    finally:
        os._exit(code)


def start(order: dict[str, Any]) -> int:
    """Fork a worker and return its process id."""
    return os.fork() or be_a_worker(**order)


def status_of(status: int) -> str | int:
    """Return `STOPPED`, or the exit code (negative: the signal that ended it)."""
    return STOPPED if os.WIFSTOPPED(status) else os.waitstatus_to_exitcode(status)


def serve() -> None:
    """Obey until SIGTERM; then end every worker that is left."""
    running: set[int] = set()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        for line in sys.stdin:
            [(verb, what)] = json.loads(line).items()
            answer: str | int
            if verb == "start":
                answer = start(what)
                running.add(answer)
            else:
                options = os.WUNTRACED if verb == STOPPED else 0
                answer = status_of(os.waitpid(what, options)[1])
                if answer != STOPPED:
                    running.discard(what)
            sys.stdout.write(f"{json.dumps(answer)}\n")
            sys.stdout.flush()
    finally:
        for pid in running:
            os.kill(pid, signal.SIGKILL)


def compiled() -> None:
    """Have kernels compiled into their cache, from which each worker loads them.

    By a process of its own: threads that libraries start for it would not come along with a fork,
    and be waited for in vain.
    """
    if (pid := os.fork()) == 0:
        settings = Settings()
        warm_up(fleet_from_settings(settings.providers), settings)
        os._exit(0)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    import_module("pipelines.stream")  # which the command would import when it runs
    compiled()
    serve()
