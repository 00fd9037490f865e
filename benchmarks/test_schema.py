"""Payloads to columns and back: 10,000 requests as JSON, as one Arrow stream, and decisions."""

import json
from collections.abc import Callable
from functools import cache

from aurora_batch import router
from aurora_batch.schema import (
    ARROW_CONTENT_TYPE,
    Record,
    Records,
    decode,
    encode_arrow,
    encode_json,
    encode_requests_arrow,
    encode_requests_json,
)
from benchmarks.markets import Market, market
from benchmarks.ratios import seconds
from tests.aurora_batch.schema.payloads import BAD

N = 10_000
SMALL = 10_000  # bytes of a poison
ARROW = (("content-type", ARROW_CONTENT_TYPE.encode()),)
Benchmark = Callable[..., object]


@cache
def requests() -> Market:
    """One market for all."""
    return market(N, 64, 1.2)


def measure(benchmark: Benchmark, run: Callable[[], object], rows: int = N) -> float:
    """Run the benchmark; note and return the seconds of one run."""
    benchmark(run)
    own = seconds(run)
    info = benchmark.extra_info  # type: ignore[attr-defined]
    info["microseconds_per_request"] = own / rows * 1e6
    info["million_per_second"] = rows / own / 1e6
    return own


def test_decode_json(benchmark: Benchmark) -> None:
    """Beside it, `json.loads` of the same payloads without any check."""
    records = [Record(p) for p in encode_requests_json(requests().requests)]
    payloads = [record.value for record in records]
    assert not decode(records, max_clock_skew_s=300).rejections

    own = measure(benchmark, lambda: decode(records, max_clock_skew_s=300))

    plain = seconds(lambda: list(map(json.loads, payloads)))
    benchmark.extra_info["json_loads_alone_over_this"] = plain / own  # type: ignore[attr-defined]


def test_decode_json_one_bad(benchmark: Benchmark) -> None:
    """One malformed record in 10,000 costs next to nothing."""
    records = [Record(p) for p in encode_requests_json(requests().requests)]
    records[N // 2] = Record(b'{"request_id": "r')
    assert len(decode(records, max_clock_skew_s=300).rejections) == 1

    measure(benchmark, lambda: decode(records, max_clock_skew_s=300))


def test_decode_json_columns(benchmark: Benchmark) -> None:
    """Records that come as columns, as a worker has them."""
    records = Records.of([Record(p) for p in encode_requests_json(requests().requests)])
    assert not decode(records, max_clock_skew_s=300).rejections

    measure(benchmark, lambda: decode(records, max_clock_skew_s=300))


def test_decode_json_poison(benchmark: Benchmark) -> None:
    """The same, every twentieth no request, of all kinds in turn."""
    payloads: list[bytes | None] = list(encode_requests_json(requests().requests))
    kinds = [bad for bad, *_ in BAD.values() if bad is None or len(bad) < SMALL]
    payloads[19::20] = [kinds[i % len(kinds)] for i in range(N // 20)]
    records = Records.of(map(Record, payloads))
    assert len(decode(records, max_clock_skew_s=300).rejections) == N // 20

    measure(benchmark, lambda: decode(records, max_clock_skew_s=300))


def test_decode_arrow(benchmark: Benchmark) -> None:
    """One payload of 100,000 rows: opened, validated in full, checked."""
    wanted = market(10 * N, 64, 1.2).requests
    record = Record(encode_requests_arrow(wanted), headers=ARROW)

    measure(benchmark, lambda: decode([record], max_clock_skew_s=300), 10 * N)


def test_decode_arrow_payloads(benchmark: Benchmark) -> None:
    """The same in 100 payloads of 1,000 rows."""
    wanted = market(10 * N, 64, 1.2).requests
    parts = [wanted.slice(low, 1_000) for low in range(0, 10 * N, 1_000)]
    records = Records.of(Record(encode_requests_arrow(part), headers=ARROW) for part in parts)

    measure(benchmark, lambda: decode(records, max_clock_skew_s=300), 10 * N)


def test_encode_requests_json(benchmark: Benchmark) -> None:
    """What `aurora produce` does."""
    wanted = requests().requests

    measure(benchmark, lambda: encode_requests_json(wanted))


def decided() -> router.Step:
    """A batch decided."""
    made = requests()
    state = router.initial_state(made.fleet, made.settings)
    return router.step(made.requests, made.fleet, state, made.settings)


def test_encode_json(benchmark: Benchmark) -> None:
    """A decision is twice as long as its request; coded, as the stream has them."""
    made = decided().coded

    measure(benchmark, lambda: encode_json(made))


def test_encode_arrow(benchmark: Benchmark) -> None:
    """All decisions as one stream."""
    made = decided().decisions

    measure(benchmark, lambda: encode_arrow(made))
