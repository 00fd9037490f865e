"""Record to record: from when a request is sent until its committed decision is read."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import numpy as np
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from aurora_batch.settings import Settings
from benchmarks.stream.cells import BY_WORKER, Cell, Latency
from benchmarks.stream.children import Child, Failed, tool
from benchmarks.stream.feed import ROWS
from benchmarks.stream.place import PARTITIONS, Place
from benchmarks.stream.throughput import Progress
from tests.storm.watch import fetched

DECIDE = "aurora_decide_seconds_bucket"
QS = (50, 95, 99, 99.9)
BEGIN_S = 90.0
WARM, WARM_RATE = 6.0, 10_000.0  # times the warm-up of a rate
DRAIN_S = 8.0  # after the last request; what is not decided then cannot keep up
F64 = NDArray[np.float64]
Buckets = dict[float, float]  # upper edge, seconds -> observations up to it


def swept(
    place: Place, cell: Cell, rates: Sequence[float], turn: int, *, warm_s: float, seconds: float,
    say: Progress,
) -> Iterator[Latency]:  # fmt: skip
    """Yield the latency at each rate, rising, up to the first that cannot be kept up with."""
    requests = f"{place.prefix}.{cell.name}.{turn}.requests"
    settings = place.settings(cell, requests, turn)
    place.create(settings)
    with ExitStack() as stack:
        worker, port = _started(stack, place, cell, settings)
        worker.line("begins", BEGIN_S)
        topics = settings.kafka.topics
        # The first micro-batch waits for the kernels, and a broker that has just begun compiles
        # what it does for half a minute; neither belongs to a rate.
        say("warming up")
        first = {"warm_s": 0.0, "seconds": WARM * warm_s, "drain_s": BEGIN_S}
        rate = min(WARM_RATE, *rates)
        _phase(place, cell, topics.requests, topics.decisions, port, rate, **first)
        for rate in rates:
            say(f"{rate:,.0f} requests/s")
            found = _phase(
                place, cell, topics.requests, topics.decisions, port, rate, warm_s, seconds, DRAIN_S
            )
            yield found
            if not found.sustained:
                break
        else:
            worker.stop()
    place.drop_outputs(settings)
    place.drop(requests)


def _started(
    stack: ExitStack, place: Place, cell: Cell, settings: Settings
) -> tuple[Child, int | None]:
    """Start what decides, which the stack ends; also return the port of its metrics."""
    if cell.by != BY_WORKER:
        return stack.enter_context(place.peer(cell.by, settings)), None
    worker = stack.enter_context(place.worker(settings, "0/1", "--metrics-port", "0"))
    said = worker.line("metrics at", BEGIN_S)
    return worker, int(said.partition("/metrics")[0].rpartition(":")[2])


def _phase(
    place: Place, cell: Cell, requests: str, decisions: str, port: int | None, rate: float,
    warm_s: float, seconds: float, drain_s: float,
) -> Latency:  # fmt: skip
    """Offer one rate and measure."""
    rows = ROWS if cell.payload == "arrow" else 1
    count = max(rows, round(rate * (warm_s + seconds)) // rows * rows)
    sent, received = place.folder / "sent.npy", place.folder / "received.npz"
    received.unlink(missing_ok=True)
    common = {
        "bootstrap": place.bootstrap, "partitions": PARTITIONS, "payload": cell.payload,
        "count": count,
    }  # fmt: skip
    with (
        tool("read", {**common, "topic": decisions, "received": str(received)}) as reader,
        tool("feed", {**common, "topic": requests, "rate": rate, "sent": str(sent)}) as feed,
    ):
        reader.line("ready")
        feed.go()
        feed.line("began")
        time.sleep(warm_s)
        before = decide_buckets(port)
        feed.wait(warm_s + seconds + BEGIN_S)
        _wait(reader, drain_s)
        after = decide_buckets(port)
        took, late = feed.latest("seconds") or np.nan, feed.latest("latest_s") or 0.0
    times = joined(np.load(sent), received, warm=round(warm_s * rate))
    p50, p95, p99, p999 = (float(np.percentile(times, q)) if times.size else np.nan for q in QS)
    sustained = times.size == count - round(warm_s * rate)
    return Latency(
        cell.name, rate, count / took, 1e3 * late, p50, p95, p99, p999,
        1e3 * quantile(before, after, 0.99), int(times.size), bool(sustained),
    )  # fmt: skip


def _wait(reader: Child, within_s: float) -> None:
    """Let the reader see the rest, as far as it comes in time."""
    try:
        reader.wait(within_s)
    except Failed:
        if not reader.running:
            raise
        reader.stop()  # it writes what it has


def joined(sent: NDArray[np.int64], received: object, warm: int) -> F64:
    """Return milliseconds from sending to receipt of the requests from number `warm` on.

    The first receipt counts, which only differs where delivery is at least once.
    """
    with np.load(str(received)) as found:
        number, at = found["number"], found["at"]
    number, first = np.unique(number, return_index=True)
    chosen = (number >= warm) & (number < sent.size)
    number, at = number[chosen], at[first][chosen]
    return np.asarray((at - sent[number]) / 1e6, np.float64)


def decide_buckets(port: int | None) -> Buckets:
    """Return the histogram of how long decisions took; empty where nobody counts."""
    if port is None:
        return {}
    return {
        float(sample.labels["le"]): sample.value
        for family in text_string_to_metric_families(fetched(port, "/metrics"))
        for sample in family.samples
        if sample.name == DECIDE
    }


def quantile(before: Buckets, after: Buckets, q: float) -> float:
    """Return a quantile, seconds, of what was observed between; linear within a bucket."""
    edges = np.array([0.0, *after])
    counts = np.array([0.0, *(n - before.get(edge, 0.0) for edge, n in after.items())])
    if counts.size < 2 or not counts[-1]:
        return float("nan")
    finite = np.isfinite(edges)
    return float(np.interp(q * counts[-1], counts[finite], edges[finite]))
