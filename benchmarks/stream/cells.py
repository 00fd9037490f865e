"""What can be measured, by name, and what a measurement found."""

from dataclasses import dataclass, field
from typing import Literal

from aurora_batch.settings import RouterSettings

Payload = Literal["json", "arrow"]

# Windows so short that most of a run's follow others: only then prices are solved again and again.
SHORT_S = 5.0
BY_WORKER, BY_LOOP, BY_QUIX, BY_BARE = "worker", "aiokafka", "quix", "bare"
# Requests that a backlog needs for each second: more than is decided in it on two cores.
PER_SECOND: dict[Payload, int] = {"json": 250_000, "arrow": 1_200_000}


@dataclass(frozen=True)
class Cell:
    """One thing to measure."""

    name: str
    says: str
    payload: Payload = "json"
    exactly_once: bool = True
    shards: int = 1
    by: str = BY_WORKER
    linger_ms: float = 20.0
    window_s: float = RouterSettings().window_s
    lookahead: bool = True
    kind: Literal["throughput", "latency", "start"] = "throughput"
    compiled: bool = True  # kernels are in the cache
    usual: bool = True  # part of a run without --full

    @property
    def input(self) -> tuple[Payload, float]:
        """What cells have in common that work off the same backlog."""
        return self.payload, self.window_s


def _of_worker() -> list[Cell]:
    cells = [Cell("json", "JSON, exactly once"), Cell("json-again", "the same again (A/A)")]
    for payload in ("json", "arrow"):
        for shards in (1, 2):
            for once in (True, False):
                name = payload + ("-2" if shards == 2 else "") + ("" if once else "-alo")
                way = "exactly once" if once else "at least once"
                words = "JSON" if payload == "json" else "Arrow"
                says = f"{words}, {way}" + (", 2 shards" if shards == 2 else "")
                usual = shards == 1 or (once and payload == "json")
                if name != "json":
                    cells.append(Cell(name, says, payload, once, shards, usual=usual))
    return cells


CELLS = (
    *_of_worker(),
    Cell("aiokafka", "aiokafka, record by record", by=BY_LOOP),
    Cell("quix", "Quix Streams", by=BY_QUIX),
    Cell("ahead", "JSON, short windows", window_s=SHORT_S, usual=False),
    Cell("ahead-off", "the same, not looking ahead", window_s=SHORT_S, lookahead=False,
         usual=False),
    Cell("latency-20", "linger 20 ms, exactly once", kind="latency"),
    Cell("latency-5", "linger 5 ms, exactly once", linger_ms=5.0, kind="latency"),
    Cell("bare-20", "2 ms of work, linger 20 ms", by=BY_BARE, kind="latency", usual=False),
    Cell("bare-5", "2 ms of work, linger 5 ms", by=BY_BARE, linger_ms=5.0, kind="latency",
         usual=False),
    Cell("latency-20-alo", "linger 20 ms, at least once", exactly_once=False, kind="latency",
         usual=False),
    Cell("latency-5-alo", "linger 5 ms, at least once", exactly_once=False, linger_ms=5.0,
         kind="latency", usual=False),
    Cell("latency-arrow", "Arrow, linger 20 ms, exactly once", "arrow", kind="latency",
         usual=False),
    Cell("start", "compiled before", kind="start"),
    Cell("start-cold", "kernels to be compiled", kind="start", compiled=False, usual=False),
)  # fmt: skip
BY_NAME = {cell.name: cell for cell in CELLS}


@dataclass(frozen=True)
class Throughput:
    """What one cell did with a backlog; CPU is in seconds for a million requests."""

    cell: str
    per_s: float  # requests decided and committed
    seconds: float  # over which that was measured
    worker_cpu: float
    broker_cpu: float  # nan where the broker is not ours
    consumed: int  # requests, from the first to the last
    decided: int  # as a reader of committed records counts them


@dataclass(frozen=True)
class Latency:
    """Record to record at one offered rate, milliseconds."""

    cell: str
    offered: float  # requests per second asked for
    sent_per_s: float  # that the producer reached
    late_ms: float  # largest delay of the producer behind its rate
    p50: float
    p95: float
    p99: float
    p999: float
    decide_p99: float  # score and solve of a micro-batch, as the worker counts them
    count: int  # requests after the warm-up
    sustained: bool  # all were decided in time


@dataclass(frozen=True)
class Start:
    """From the start of a worker to its first committed decision."""

    cell: str
    seconds: float


@dataclass(frozen=True)
class Found:
    """Everything, round by round."""

    throughput: list[list[Throughput]] = field(default_factory=list)
    latency: list[list[Latency]] = field(default_factory=list)
    starts: list[list[Start]] = field(default_factory=list)
