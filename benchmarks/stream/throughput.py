"""How fast a backlog is worked off, and what CPU time that takes."""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from aurora_batch.settings import Settings
from benchmarks.stream.cells import BY_WORKER, PER_SECOND, Cell, Payload, Throughput
from benchmarks.stream.children import Child, Failed, cpu_s, tool
from benchmarks.stream.feed import ROWS
from benchmarks.stream.place import PARTITIONS, Committed, Place

NOMINAL = 100_000.0  # requests per second of a backlog's event time
FIRST_S = 10.0  # of event time, from its start to the end of a window
EVERY_S = 0.25  # between two looks
BEGIN_S = 90.0  # until the first commit
READ_S = 600.0
NAN = float("nan")

Progress = Callable[[str], object]


@dataclass(frozen=True)
class Backlog:
    """A topic full of requests."""

    topic: str
    payload: Payload
    count: int

    @property
    def rows(self) -> int:
        """Requests in a record."""
        return ROWS if self.payload == "arrow" else 1


@dataclass(frozen=True)
class Look:
    """Where everything is."""

    at: float  # monotonic seconds
    requests: int  # decided and committed
    worker_s: float  # CPU
    broker_s: float


def filled(place: Place, cell: Cell, seconds: float, count: int | None, say: Progress) -> Backlog:
    """Fill a topic with as many requests as so many seconds may take, or with `count`."""
    payload, window_s = cell.input
    count = count or round(PER_SECOND[payload] * seconds)
    count -= count % ROWS
    backlog = Backlog(f"{place.prefix}.requests.{payload}.{window_s:g}", payload, count)
    place.create(place.settings(cell, backlog.topic, 0))
    # All of them lie in the past, and the first window always ends at the same request.
    last = (time.time() - count / NOMINAL) // window_s * window_s
    start = last - FIRST_S
    spec = {
        "bootstrap": place.bootstrap, "topic": backlog.topic, "partitions": PARTITIONS,
        "payload": payload, "count": count, "rate": NOMINAL, "start_us": round(start * 1e6),
        "window_s": window_s,
    }  # fmt: skip
    with tool("feed", spec) as feed:
        while feed.running:
            say(f"{feed.latest('sent') or 0:,.0f} of {count:,} requests are there")
            time.sleep(EVERY_S)
        feed.wait(1.0)
    return backlog


def measured(
    place: Place, cell: Cell, backlog: Backlog, turn: int, *, warm_s: float, seconds: float,
    say: Progress, quix: Path | None = None,
) -> Throughput:  # fmt: skip
    """Let a cell work the backlog off for so long, and count what it committed."""
    settings = place.settings(cell, backlog.topic, turn)
    place.create(settings)
    with ExitStack() as stack:
        children = [stack.enter_context(c) for c in _started(place, cell, settings, quix)]
        committed = stack.enter_context(closing(Committed(settings.kafka)))
        looks = _watched(place, children, committed, backlog, warm_s, seconds, say)
        say("finishing")
        for child in children:
            child.stop()
        consumed = committed.records()[1] * backlog.rows
    spec = {
        "bootstrap": place.bootstrap, "topic": settings.kafka.topics.decisions,
        "partitions": PARTITIONS, "payload": backlog.payload, "count": consumed,
    }  # fmt: skip
    say("counting the decisions")
    with tool("read", spec) as reader:
        reader.wait(READ_S)
        decided = int(reader.latest("decisions") or 0)
    place.drop_outputs(settings)
    if decided < consumed or (cell.exactly_once and decided > consumed):
        raise Failed(f"{cell.name}: {consumed:,} requests read, {decided:,} decisions")
    return _figures(cell, looks, consumed, decided)


def _started(place: Place, cell: Cell, settings: Settings, quix: Path | None) -> list[Child]:
    """Start what decides."""
    if cell.by == BY_WORKER:
        return [place.worker(settings, f"{i}/{cell.shards}") for i in range(cell.shards)]
    return [place.peer(cell.by, settings, quix)]


def _watched(
    place: Place, children: list[Child], committed: Committed, backlog: Backlog,
    warm_s: float, seconds: float, say: Progress,
) -> list[Look]:  # fmt: skip
    """Look on from the first commit until the time is over or everything is decided."""
    looks: list[Look] = []
    deadline = time.monotonic() + BEGIN_S
    while True:
        at, records = committed.records()
        workers = sum(cpu_s(child.pid) for child in children)
        broker = cpu_s(place.broker_pid) if place.broker_pid else NAN
        requests = records * backlog.rows
        if requests:
            looks.append(Look(at, requests, workers, broker))
            say(f"{requests:,} of {backlog.count:,} requests decided")
            if requests >= backlog.count or at - looks[0].at >= warm_s + seconds:
                return [look for look in looks if look.at - looks[0].at >= warm_s]
        elif at > deadline:
            raise Failed(f"nothing was decided: {children[0].last_words}")
        for child in children:
            if not child.running:
                child.wait(0.0)
                raise Failed(f"{child.name} ended early: {child.last_words}")
        time.sleep(EVERY_S)


def _figures(cell: Cell, looks: list[Look], consumed: int, decided: int) -> Throughput:
    # When the backlog ended within the last interval is not known.
    looks = looks[:-1] if len(looks) > 2 else looks
    if len(looks) < 2:  # it ended while the worker was warming up: --count is too small
        return Throughput(cell.name, NAN, 0.0, NAN, NAN, consumed, decided)
    first, last = looks[0], looks[-1]
    seconds, millions = last.at - first.at, (last.requests - first.requests) / 1e6 or NAN
    return Throughput(
        cell.name, 1e6 * millions / seconds, seconds,
        (last.worker_s - first.worker_s) / millions, (last.broker_s - first.broker_s) / millions,
        consumed, decided,
    )  # fmt: skip
