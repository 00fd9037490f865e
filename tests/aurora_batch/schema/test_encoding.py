"""What is written is read back: requests and decisions, JSON and Arrow."""

import json
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_batch.schema import (
    ARROW_CONTENT_TYPE,
    DECISION_SCHEMA,
    REQUEST_SCHEMA,
    Decisions,
    Record,
    decode,
    decode_json,
    encode_arrow,
    encode_arrow_each,
    encode_json,
    encode_requests_arrow,
    encode_requests_json,
)
from tests.requests import NOON, table

HEADERS = (("content-type", ARROW_CONTENT_TYPE.encode()),)


def decision(**fields: Any) -> dict[str, Any]:
    """Return a decision; what is not said is null."""
    usual = {
        "decision_id": "d-1",
        "status": "provisioning",
        "reason": "ok",
        "blocked_by": [],
        "alternatives": [],
    }
    return dict.fromkeys(DECISION_SCHEMA.names) | usual | fields


FULL = decision(
    request_id='r "1"\n', provider="vast", gpu_type="4090", region="global",
    price_usd_per_hour=0.1, estimated_latency_ms=380.0, score=1e-7, cost_usd=1 / 3,
    blocked_by=["max_price 2.20 at vast"], batch_id="b", shadow_price=0.0, policy="global",
    alternatives=[{"provider": "é", "gpu_type": "4090", "price_usd_per_hour": 1.0, "score": None}],
    window=NOON, decided_at=NOON + timedelta(microseconds=1_500),
)  # fmt: skip


def test_decision_is_one_line_with_every_field() -> None:
    """Names in the order of the schema, nulls present, times as RFC 3339 with Z."""
    table = pa.Table.from_pylist([FULL, decision()], schema=DECISION_SCHEMA)
    lines = encode_json(Decisions.of(table)).to_pylist()

    full, empty = map(json.loads, lines)
    times = {"window": "2026-01-01T12:00:00Z", "decided_at": "2026-01-01T12:00:00.001500Z"}
    assert full == FULL | times
    assert empty == decision()
    assert list(full) == DECISION_SCHEMA.names
    assert not any(b"\n" in line for line in lines)


def test_no_decisions_are_no_lines() -> None:
    """An empty table gives no line, not an empty one."""
    assert encode_json(Decisions.of(DECISION_SCHEMA.empty_table())).to_pylist() == []
    assert encode_requests_json(REQUEST_SCHEMA.empty_table()) == []


def test_decisions_as_arrow() -> None:
    """One stream of the schema."""
    decisions = pa.Table.from_pylist([FULL, decision()], schema=DECISION_SCHEMA)

    with pa.ipc.open_stream(encode_arrow(decisions)) as stream:
        assert stream.read_all().equals(decisions)


def test_requests_look_as_a_person_writes_them() -> None:
    """What was not said is not there; several GPU types are a list."""
    requests = table([{"gpu_type": "4090|a100", "weights": {"price": 0.5}}])

    assert json.loads(encode_requests_json(requests)[0]) == {
        "request_id": "r0",
        "workload_type": "general",
        "gpu_type": ["4090", "a100"],
        "gpu_hours": 1.0,
        "region": "global",
        "weights": {"price": 0.5},
        "priority": 1.0,
        "requested_at": "2026-01-01T12:00:00Z",
    }


def rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    """Canonical requests, whatever they may say."""
    plain = st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp"))
    text = st.text(plain, min_size=1, max_size=128)
    positive = st.floats(0, exclude_min=True, allow_infinity=False)
    counted = st.floats(0, 1e9, exclude_min=True)
    weight = st.floats(0, 1, exclude_min=True) | st.none()
    weights = st.fixed_dictionaries(
        {"price": st.floats(0, 1, exclude_min=True), "latency": weight,
         "reputation": weight, "availability": weight}
    )  # fmt: skip
    gpus = st.sampled_from(["a100", "4090|a100", "h100|quantum9"])
    times = st.datetimes(datetime(1970, 1, 1), datetime(2199, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
    return st.lists(
        st.fixed_dictionaries({
            "request_id": text, "tenant_id": st.none() | text, "workload_type": text,
            "gpu_type": gpus, "region": st.sampled_from(["global", "eu-west-1", "Mond"]),
            "gpu_hours": counted, "max_price": st.none() | positive,
            "max_latency_ms": st.none() | positive, "priority": counted,
            "min_reputation": st.none() | st.floats(0, 100),
            "weights": st.none() | weights, "requested_at": times,
        }),
        max_size=6, unique_by=lambda row: row["request_id"],
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(rows())
def test_requests_come_back_as_they_were(requests: list[dict[str, Any]]) -> None:
    """Bit by bit, through JSON and through Arrow."""
    before = table(requests)

    as_json = decode_json(encode_requests_json(before), None)
    as_arrow = decode([Record(encode_requests_arrow(before), headers=HEADERS)], max_clock_skew_s=1)

    for after in (as_json, as_arrow):
        assert after.rejections == []
        assert after.requests.equals(before)


def decided(n: int, first: int) -> pa.Table:
    """Return a chunk of decisions, a third of them full."""
    every = [FULL if i % 3 == 0 else decision(request_id=f"r{i}") for i in range(first, first + n)]
    return pa.Table.from_pylist(every, schema=DECISION_SCHEMA)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=5), st.integers(0, 40))
def test_streams_of_parts_are_those_of_each_alone(cuts: list[int], low: int) -> None:
    """However decisions are cut, and whatever chunks they lie in."""
    whole = pa.concat_tables([decided(25, 0), decided(15, 25)])
    part = whole.slice(low)
    bounds = sorted({0, part.num_rows, *(min(cut, part.num_rows) for cut in cuts)})

    found = encode_arrow_each(part, bounds)

    expected = [encode_arrow(part.slice(a, b - a)) for a, b in pairwise(bounds)]
    assert found.to_pylist() == expected
