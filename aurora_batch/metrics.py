"""Every metric of the router, in one table (spec, section 7); observers only.

Counting is by batch, by codes and in bins, never one request at a time. Labels are bounded:
providers, pools and tenants that are configured, the words of `model`.
"""

from collections import Counter as Counts
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from aurora_batch.allocation import Prices
from aurora_batch.demand import Forecast
from aurora_batch.fleet import Fleet
from aurora_batch.model import STATUS_OF_REASON, Reason
from aurora_batch.outlook import Outlook
from aurora_batch.progress import Account
from aurora_batch.router import BatchRecord
from aurora_batch.schema import Decisions, Rejection, codes_of

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

ROUTE_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0)
STAGE_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
# Finer about 5 ms, which a decision of a live micro-batch is meant to take at most.
DECIDE_BUCKETS = (
    0.0005, 0.001, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
)  # fmt: skip
SIZE_BUCKETS = (1.0, 10.0, 100.0, 500.0, 1_000.0, 2_500.0, 5_000.0, 10_000.0, 25_000.0, 100_000.0)
NO_PROVIDER = "none"  # label of requests that no provider got


@dataclass(frozen=True)
class Metric:
    """One row of the table."""

    kind: Literal["counter", "gauge", "histogram"]
    name: str  # without the prefix `aurora_`
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    start: float = float("nan")  # of a gauge: nothing is known yet, and 0 would be a claim


# Names of the spec first; `active_deployments` and `ai_...` have no samples until their parts run.
TABLE = (
    Metric("counter", "route_requests_total", "Requests decided", ("provider", "status")),
    Metric("histogram", "route_duration_seconds", "From arrival at the worker to the committed "
           "decision", ("provider", "mode"), ROUTE_BUCKETS),
    Metric("counter", "route_failures_total", "Requests not served", ("provider", "reason")),
    Metric("gauge", "active_deployments", "Deployments that run", ("provider",)),
    Metric("gauge", "provider_health", "1 where the provider's offers are active", ("provider",)),
    Metric("gauge", "provider_latency_ms", "Latency of the fastest offer", ("provider",)),
    Metric("gauge", "provider_cost_usd", "Lowest price per hour", ("provider", "gpu_type")),
    Metric("gauge", "provider_capacity", "GPU-hours per window", ("provider",)),
    Metric("counter", "ai_decisions_total", "Decisions of learned routing", ("mode",)),
    Metric("gauge", "ai_reward", "Reward of learned routing", ("episode",)),
    Metric("gauge", "ai_fill_rate_improvement", "Fill rate above that of greedy"),
    Metric("histogram", "batch_requests", "Requests in a micro-batch", (), SIZE_BUCKETS),
    Metric("histogram", "batch_wait_seconds", "Age of a micro-batch when it closed", (),
           STAGE_BUCKETS),
    Metric("histogram", "decode_seconds", "Payloads to columns, a micro-batch", (), STAGE_BUCKETS),
    Metric("histogram", "score_seconds", "Filter and score, a micro-batch", (), STAGE_BUCKETS),
    Metric("histogram", "solve_seconds", "Allocation, a batch", (), STAGE_BUCKETS),
    Metric("histogram", "decide_seconds", "Score and allocate, a micro-batch", (), DECIDE_BUCKETS),
    Metric("histogram", "reply_seconds", "Decisions and their messages, a micro-batch", (),
           STAGE_BUCKETS),
    Metric("histogram", "emit_seconds", "Send and commit, a micro-batch", (), STAGE_BUCKETS),
    Metric("gauge", "batch_value", "Value of the last batch"),
    Metric("gauge", "batch_bound", "Dual bound of the last batch"),
    Metric("gauge", "batch_gap", "(bound - value) / bound of the last batch"),
    Metric("gauge", "fill_rate", "Share of the last batch's requests that were served"),
    Metric("gauge", "shadow_price", "Value per GPU-hour in the last batch", ("pool",)),
    Metric("gauge", "pool_left_gpu_hours", "What is left in the window", ("pool",)),
    Metric("gauge", "budget_left_usd", "What is left in the window", ("tenant",)),
    Metric("gauge", "reserve_price", "Value per GPU-hour below which the last batch served nobody, "
           "to keep it for later requests of the window", ("pool",)),
    Metric("gauge", "reserve_price_per_usd", "The same per USD of a budget", ("tenant",)),
    Metric("gauge", "expected_gpu_hours", "What the window will still ask for; 0 where unknown"),
    Metric("gauge", "expected_gpu_hours_low", "The least that the same figures may mean"),
    Metric("gauge", "expected_gpu_hours_high", "The most that they may mean"),
    Metric("gauge", "asked_gpu_hours", "Asked for in the window so far, where it looks ahead"),
    Metric("gauge", "window_expected_gpu_hours", "What the last finished window was expected to "
           "ask for, at its start; 0 where none is known", start=0.0),
    Metric("gauge", "window_asked_gpu_hours", "What that window asked for", start=0.0),
    Metric("gauge", "window_regret", "(bound - value) / bound of the window judged last, had all "
           "of its requests been known; 0 before the first", start=0.0),
    Metric("counter", "windows_judged_total", "Windows whose regret was computed"),
    Metric("counter", "solver_status_total", "Why solves stopped", ("status",)),
    Metric("counter", "late_requests_total", "Requests of older windows than the current one"),
    Metric("counter", "dead_letters_total", "Records that are no requests", ("reason",)),
    Metric("counter", "unknown_fields_total", "Fields that were ignored"),
    Metric("counter", "requests_consumed_total", "Requests read, each once"),
    Metric("counter", "requests_decided_total", "Requests with a committed decision"),
    Metric("counter", "requests_dead_lettered_total", "Requests with a committed dead letter"),
    Metric("gauge", "requests_in_flight", "Consumed, and neither decided nor dead-lettered yet",
           start=0.0),
    Metric("gauge", "bytes_in_flight", "About the size of what is read and not committed yet",
           start=0.0),
    Metric("gauge", "consumer_lag", "End offset minus committed offset", ("partition",)),
    Metric("gauge", "last_commit_timestamp_seconds", "When the last micro-batch was committed"),
    Metric("counter", "takeovers_total", "Times that the worker began from committed offsets"),
    Metric("counter", "fleet_reloads_total", "Reloads of the providers", ("result",)),
    Metric("gauge", "event_loop_lag_seconds", "How late the event loop woke up last"),
    Metric("gauge", "event_loop_tasks", "Tasks on the event loop"),
)  # fmt: skip


@dataclass(frozen=True)
class Committed:
    """What a committed micro-batch became; what observers of the stream are given."""

    decisions: Decisions  # n rows
    durations: F64  # (n,) seconds from arrival at the worker to the commit
    rejections: Sequence[Rejection]
    batches: Sequence[BatchRecord]  # one for each window it reached
    unknown_fields: int
    wait_s: float
    decode_s: float
    decide_s: float  # score and solve
    reply_s: float
    emit_s: float
    at: float  # seconds since the epoch


class Distribution(Collector):
    """A histogram that takes many observations at once, which `prometheus_client`'s cannot."""

    def __init__(self, metric: Metric) -> None:
        self._metric = metric
        self._edges = np.array(metric.buckets)
        self._counts: dict[tuple[str, ...], NDArray[np.int64]] = {}
        self._sums: dict[tuple[str, ...], float] = {}

    def observe(self, values: F64, *labels: str) -> None:
        """Add observations under one set of labels."""
        counts, sums = self.binned(values, np.zeros(values.size, np.int64), 1)
        self.add(counts[0], float(sums[0]), *labels)

    def binned(self, values: F64, group: I64, groups: int) -> tuple[I64, F64]:
        """Return, for each group, how many of its values are in each bucket, and their sum.

        `group`, shape (n,), tells for each value which of the `groups` is its own.
        """
        # A value that equals an edge belongs to the bucket below it (`le`).
        place = np.searchsorted(self._edges, values, side="left")
        buckets = self._edges.size + 1
        counts: I64 = np.bincount(group * buckets + place, minlength=groups * buckets)
        sums: F64 = np.bincount(group, values, minlength=groups).astype(np.float64)
        return counts.reshape(groups, buckets), sums

    def add(self, counts: I64, total: float, *labels: str) -> None:
        """Add observations that are binned, and their sum, under one set of labels."""
        self._counts[labels] = self._counts.get(labels, np.zeros_like(counts)) + counts
        self._sums[labels] = self._sums.get(labels, 0.0) + total

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Yield the family, as a registry asks for it."""
        metric = self._metric
        family = HistogramMetricFamily(f"aurora_{metric.name}", metric.help, labels=metric.labels)
        bounds = [*map(str, metric.buckets), "+Inf"]
        for labels, counts in self._counts.items():
            buckets = list(zip(bounds, np.cumsum(counts).astype(float).tolist(), strict=True))
            family.add_metric(labels, buckets, self._sums[labels])
        yield family


class Metrics:
    """The metrics of one worker, in a registry of their own.

    Parameters
    ----------
    tenants
        Ids of the tenants that have a budget, in the order of `BatchRecord.budget_left`.
    """

    def __init__(self, tenants: Sequence[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self._lock = Lock()  # so that a scrape never sees half of a batch
        self._tenants = tuple(tenants)
        self._pools: tuple[str, ...] = ()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._distributions: dict[str, Distribution] = {}
        self._last: BatchRecord | None = None  # of which nobody has seen the gauges yet
        self._flowed: dict[str, int] = {}  # totals of the account, as they were counted last
        for metric in TABLE:
            self._build(metric)

    def _build(self, metric: Metric) -> None:
        name = f"aurora_{metric.name}"
        if metric.kind == "histogram":
            distribution = self._distributions[metric.name] = Distribution(metric)
            self.registry.register(distribution)
        elif metric.kind == "counter":
            counter = Counter(name, metric.help, metric.labels, registry=self.registry)
            self._counters[metric.name] = counter
        else:
            gauge = Gauge(name, metric.help, metric.labels, registry=self.registry)
            self._gauges[metric.name] = gauge
            if not metric.labels:
                gauge.set(metric.start)

    def expose(self) -> bytes:
        """Return everything in Prometheus' text format."""
        with self._lock:
            self._show_last()
            return generate_latest(self.registry)

    def value(self, name: str, **labels: str) -> float:
        """Return one sample by its full name, 0 where there is none yet."""
        with self._lock:
            self._show_last()
            return self.registry.get_sample_value(name, labels) or 0.0

    def fleet(self, fleet: Fleet) -> None:
        """Note the providers that are in force; those that are gone leave the page."""
        with self._lock:
            self._show_last()
            self._pools = fleet.pool_ids
            for name in ("health", "latency_ms", "cost_usd", "capacity"):
                self._gauges[f"provider_{name}"].clear()
            for name in ("shadow_price", "reserve_price", "pool_left_gpu_hours"):
                self._gauges[name].clear()
            capacity = np.bincount(
                fleet.pool_provider, fleet.pool_capacity, minlength=len(fleet.provider_ids)
            )
            for index, provider in enumerate(fleet.provider_ids):
                own = fleet.offer_provider == index
                health = float(fleet.offer_active[own].any())
                self._gauges["provider_health"].labels(provider).set(health)
                self._gauges["provider_capacity"].labels(provider).set(capacity[index])
                fastest = fleet.offer_latency_ms[own].min(initial=np.inf)
                self._gauges["provider_latency_ms"].labels(provider).set(fastest)
                for gpu in np.unique(fleet.offer_gpu[own]).tolist():
                    price = fleet.offer_price[own & (fleet.offer_gpu == gpu)].min()
                    labels = provider, fleet.gpu_types[gpu]
                    self._gauges["provider_cost_usd"].labels(*labels).set(price)

    def reloaded(self, result: Literal["loaded", "refused"]) -> None:
        """Count a reload of the providers."""
        self._counters["fleet_reloads_total"].labels(result).inc()

    def took_over(self) -> None:
        """Count a beginning from committed offsets."""
        self._counters["takeovers_total"].inc()

    def loop(self, late_s: float, tasks: int) -> None:
        """Note how late the event loop woke up, and what it has to do."""
        self._gauges["event_loop_lag_seconds"].set(late_s)
        self._gauges["event_loop_tasks"].set(tasks)

    def flow(self, account: Account, in_flight_bytes: int, lag: Mapping[int, int]) -> None:
        """Note where the stream is."""
        with self._lock:
            self._flow(account)
            self._gauges["bytes_in_flight"].set(in_flight_bytes)
            for partition, records in lag.items():
                self._gauges["consumer_lag"].labels(str(partition)).set(records)

    def looked_ahead(self, outlook: Outlook) -> None:
        """Note what the window asked for and is still expected to, as of a committed batch."""
        forecast = outlook.forecast or Forecast(0.0, 0.0, 0.0)
        with self._lock:
            self._gauges["expected_gpu_hours"].set(forecast.hours)
            self._gauges["expected_gpu_hours_low"].set(forecast.low)
            self._gauges["expected_gpu_hours_high"].set(forecast.high)
            self._gauges["asked_gpu_hours"].set(outlook.demand.current.sum())

    def foretold(self, expected: float, asked: float) -> None:
        """Note the GPU-hours that a window was expected to ask for, and those that it did."""
        with self._lock:
            self._gauges["window_expected_gpu_hours"].set(expected)
            self._gauges["window_asked_gpu_hours"].set(asked)

    def judged(self, regret: float) -> None:
        """Note the regret of a window."""
        with self._lock:
            self._gauges["window_regret"].set(regret)
            self._counters["windows_judged_total"].inc()

    def _flow(self, account: Account) -> None:
        for name, total in (
            ("requests_consumed_total", account.consumed),
            ("requests_decided_total", account.decided),
            ("requests_dead_lettered_total", account.dead),
        ):
            self._counters[name].inc(total - self._flowed.get(name, 0))
            self._flowed[name] = total
        self._gauges["requests_in_flight"].set(account.in_flight)

    def committed(self, done: Committed, account: Account) -> None:
        """Count a committed micro-batch."""
        with self._lock:
            self._flow(account)
            self._count_decisions(done)
            for batch in done.batches:
                self._count_batch(batch)
            self._last = done.batches[-1] if done.batches else self._last
            for fault, count in Counts(r.fault for r in done.rejections).items():
                self._counters["dead_letters_total"].labels(fault).inc(count)
            self._counters["unknown_fields_total"].inc(done.unknown_fields)
            self._gauges["last_commit_timestamp_seconds"].set(done.at)
            solve = sum(batch.solve_seconds for batch in done.batches)
            for name, seconds in (
                ("batch_wait_seconds", done.wait_s),
                ("decode_seconds", done.decode_s),
                ("score_seconds", max(0.0, done.decide_s - solve)),
                ("decide_seconds", done.decide_s),
                ("reply_seconds", done.reply_s),
                ("emit_seconds", done.emit_s),
            ):
                self._distributions[name].observe(np.array([seconds]))

    def _count_decisions(self, done: Committed) -> None:
        if not done.decisions.num_rows:
            return
        where, named, _ = codes_of(done.decisions.columns["provider"])
        named = named.dictionary_encode()  # some stand in it more than once
        known, where = named.dictionary, np.append(named.indices.to_numpy(), -1)[where]
        reason, causes, _ = codes_of(done.decisions.columns["reason"])
        providers, reasons = [NO_PROVIDER, *known.to_pylist()], causes.to_pylist()
        group = (where.astype(np.int64) + 1) * len(reasons) + reason
        durations = self._distributions["route_duration_seconds"]
        binned, total = durations.binned(done.durations, group, len(providers) * len(reasons))
        sizes, policy = binned.sum(axis=1), str(done.batches[0].policy)
        for found in np.flatnonzero(sizes).tolist():
            provider, why = providers[found // len(reasons)], Reason(reasons[found % len(reasons)])
            count, status = int(sizes[found]), STATUS_OF_REASON[why]
            self._counters["route_requests_total"].labels(provider, status).inc(count)
            if why != Reason.OK:
                self._counters["route_failures_total"].labels(provider, why).inc(count)
            durations.add(binned[found], float(total[found]), provider, policy)

    def _count_batch(self, batch: BatchRecord) -> None:
        self._distributions["batch_requests"].observe(np.array([float(batch.requests)]))
        self._distributions["solve_seconds"].observe(np.array([batch.solve_seconds]))
        self._counters["solver_status_total"].labels(batch.status).inc()
        self._counters["late_requests_total"].inc(batch.late)

    def _show_last(self) -> None:
        """Set the gauges of the last batch: whoever asks sees no others."""
        batch, self._last = self._last, None
        if batch is None:
            return
        gauge = self._gauges
        gauge["batch_value"].set(batch.value)
        gauge["batch_bound"].set(batch.bound)
        gauge["batch_gap"].set(batch.gap)
        gauge["fill_rate"].set(batch.served / batch.requests if batch.requests else 1.0)
        none = np.zeros_like(batch.pool_left), np.zeros_like(batch.budget_left)
        reserve = Prices(*none) if batch.reserve is None else batch.reserve
        # A batch of the fleet before a reload has other pools, and says nothing about these.
        if batch.pool_left.size == len(self._pools):
            self._by(self._pools, "pool_left_gpu_hours", batch.pool_left)
            self._by(self._pools, "shadow_price", batch.pool_prices)
            self._by(self._pools, "reserve_price", reserve.pool)
        self._by(self._tenants, "budget_left_usd", batch.budget_left)
        self._by(self._tenants, "reserve_price_per_usd", reserve.budget)

    def _by(self, names: Sequence[str], gauge: str, values: F64) -> None:
        for name, value in zip(names, values.tolist(), strict=True):
            self._gauges[gauge].labels(name).set(value)
