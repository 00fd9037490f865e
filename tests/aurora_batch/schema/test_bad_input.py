"""What is wrong costs itself, says why, and leaves its neighbours as they are."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_batch.model import Fault
from aurora_batch.schema import Decoded, Record, decode, decode_json
from tests.aurora_batch.schema import naive
from tests.aurora_batch.schema.payloads import BAD, GOOD, NOON, payload, request

NOON_US = 1_767_268_800_000_000


def neighbors(n: int) -> list[bytes]:
    """Requests of every form."""
    forms: list[dict[str, Any]] = [
        {},
        {"gpu_type": ["H100", "rtx 4090"], "requested_at": NOON},
        {"weights": {"price": 0.5}, "tenant_id": "t"},
        {"requested_at": "2026-01-01T12:00:01.5+00:00", "max_price": 2.5},
    ]
    return [payload(f"good-{i}", **forms[i % 4]) for i in range(n)]


def test_there_are_at_least_45_kinds() -> None:
    """The table is as long as was asked for."""
    assert len(BAD) >= 45


@pytest.mark.parametrize(("bad", "fault", "detail"), BAD.values(), ids=BAD)
def test_bad_payload_costs_itself_alone(bad: bytes | None, fault: Fault, detail: str) -> None:
    """One rejection with code, detail and place; the neighbours as if it were not there."""
    good = neighbors(8)
    alone = decode_json(good, None)

    decoded = decode_json([*good[:4], bad, *good[4:]], None)

    assert [(r.index, r.row, r.fault) for r in decoded.rejections] == [(4, None, fault)]
    assert detail in decoded.rejections[0].detail
    assert len(decoded.rejections[0].detail) < 300
    assert decoded.requests.equals(alone.requests)
    assert decoded.index.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]


def test_all_kinds_at_once() -> None:
    """Every kind between neighbours, in one call."""
    good = neighbors(len(BAD) + 1)
    mixed: list[bytes | None] = [good[0]]
    for (bad, _, _), neighbor in zip(BAD.values(), good[1:], strict=True):
        mixed += [bad, neighbor]

    decoded = decode_json(mixed, None)

    assert [r.fault for r in decoded.rejections] == [fault for _, fault, _ in BAD.values()]
    assert [r.index for r in decoded.rejections] == list(range(1, len(mixed), 2))
    assert decoded.requests.equals(decode_json(good, None).requests)


@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD)
def test_good_payload_is_what_the_naive_twin_reads(good: bytes) -> None:
    """Odd but legal requests are read, value by value as the slow twin reads them."""
    decoded = decode_json([good], None)

    assert decoded.rejections == []
    assert rows_of(decoded) == [with_time(naive.read(good))]


def rows_of(decoded: Decoded) -> list[dict[str, Any]]:
    """The requests as plain values."""
    rows: list[dict[str, Any]] = decoded.requests.to_pylist()
    return rows


def with_time(row: Any) -> dict[str, Any]:
    """Fill the time as for a first row without one."""
    epoch = naive._time("1970-01-01T00:00:00Z")
    return {**row, "requested_at": row["requested_at"] or epoch}


@pytest.mark.parametrize(("bad", "fault", "_detail"), BAD.values(), ids=BAD)
def test_naive_twin_agrees_on_bad_payloads(bad: bytes | None, fault: Fault, _detail: str) -> None:
    """The slow twin finds the same fault."""
    assert naive.read(bad) == fault


def test_one_in_ten_thousand() -> None:
    """One malformed record in 10,000 costs that record."""
    good = neighbors(9_999)

    decoded = decode_json([*good[:7_000], b"{", *good[7_000:]], None)

    assert [r.index for r in decoded.rejections] == [7_000]
    assert decoded.requests.equals(decode_json(good, None).requests)


def test_nothing_but_bad_input() -> None:
    """A batch without any request is an empty table, and so is an empty batch."""
    decoded = decode_json([b"{", None, b"[]"], None)

    assert decoded.requests.num_rows == 0
    assert len(decoded.rejections) == 3
    assert decode_json([], None).requests.num_rows == 0
    assert decode([], max_clock_skew_s=300).rejections == []


def test_later_duplicates_are_rejected() -> None:
    """The first valid request of an id wins; an invalid one does not count."""
    payloads = [
        payload("a", gpu_hours=-1), payload("a"), payload("b"), payload("a"), payload("b"),
    ]  # fmt: skip

    decoded = decode_json(payloads, None)

    assert decoded.index.tolist() == [1, 2]
    assert [(r.index, r.fault, r.request_id) for r in decoded.rejections] == [
        (0, Fault.OUT_OF_RANGE, "a"),
        (3, Fault.DUPLICATE, "a"),
        (4, Fault.DUPLICATE, "b"),
    ]


def test_clock_ahead_of_the_record_is_rejected() -> None:
    """More than the allowed skew ahead is a fault, exactly as much is none, behind is none."""
    times = [f"2026-01-01T12:05:00{fraction}Z" for fraction in ("", ".000001")] + [
        "2020-01-01T00:00:00Z"
    ]
    payloads = [payload(f"r{i}", requested_at=t) for i, t in enumerate(times)]
    records = [Record(p, timestamp_us=NOON_US) for p in payloads]

    decoded = decode(records, max_clock_skew_s=300)

    assert decoded.index.tolist() == [0, 2]
    assert decoded.rejections[0].fault == Fault.CLOCK_SKEW
    assert "2026-01-01" in decoded.rejections[0].detail


def test_missing_time_is_the_records_else_the_row_befores() -> None:
    """The record's timestamp, else the time of the valid row before, else the epoch."""
    payloads = [
        payload("a"), payload("b", requested_at=NOON),
        payload("c", requested_at="2026-01-01T13:00:00Z", gpu_hours=-1), payload("d"),
    ]  # fmt: skip
    stamped = decode_json(payloads[:1], np.array([NOON_US]))
    plain = decode_json(payloads, None)

    assert stamped.requests["requested_at"].cast("int64").to_pylist() == [NOON_US]
    assert plain.requests["requested_at"].cast("int64").to_pylist() == [0, NOON_US, NOON_US]


def test_workloads_outside_the_set_are_rejected() -> None:
    """With a set of names any other is a fault; without, any name goes."""
    payloads = [payload("a"), payload("b", workload_type="mining")]

    decoded = decode_json(payloads, None, workloads=frozenset({"general"}))

    assert [(r.index, r.fault) for r in decoded.rejections] == [(1, Fault.UNKNOWN_WORKLOAD)]
    assert decode_json(payloads, None).rejections == []


def test_unknown_members_are_ignored_and_counted() -> None:
    """Counted by name, of weights too; as many names as a metric can bear."""
    payloads = [payload(f"r{i}", note=1, weights={"prise": 1, "price": 1}) for i in range(3)]
    flood = [payload(f"f{i}", **{f"x{i}": 1}) for i in range(500)]

    assert decode_json(payloads, None).unknown_fields == {"note": 3, "weights.prise": 3}
    counted = decode_json(flood, None).unknown_fields
    assert len(counted) < 100
    assert counted.total() == 500


def test_detail_never_repeats_a_long_value() -> None:
    """A megabyte of text is cut, and what a terminal would obey is escaped."""
    secret = "\x1b[2J" + "s" * 500_000
    decoded = decode_json([payload(workload_type=secret), payload(gpu_hours=secret)], None)

    for rejection in decoded.rejections:
        assert len(rejection.detail) < 200
        assert rejection.detail.isprintable()


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5),
    st.sampled_from(["a100", "RTX 4090", NOON, "2024-02-29T00:00:00+01:00", 0, 1, 0.5, 100, -1]),
)  # fmt: skip
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=3),
    st.dictionaries(
        st.sampled_from(["price", "latency", "reputation", "availability", "x"]),
        st.one_of(st.none(), st.sampled_from([0, 0.5, 1, 2, "1"])),
    ),
)
NAMES = [*request(), "tenant_id", "region", "max_price", "max_latency_ms", "min_reputation",
         "weights", "priority", "requested_at", "other"]  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=2), max_size=5))
def test_decoder_reads_what_the_naive_twin_reads(changes: list[dict[str, Any]]) -> None:
    """Any change of a request or two: same rows, same rejected positions, same codes."""
    payloads = [
        json.dumps(
            request(f"r{i}") | {k: v for k, v in change.items() if k != "request_id"}
        ).encode()
        for i, change in enumerate(changes)
    ]

    decoded = decode_json(payloads, None)

    expected = [naive.read(p) for p in payloads]
    assert [r.index for r in decoded.rejections] == [
        i for i, row in enumerate(expected) if isinstance(row, Fault)
    ]
    kept = [row for row in expected if not isinstance(row, Fault)]
    rows = rows_of(decoded)
    for row, slow in zip(rows, kept, strict=True):
        assert slow["requested_at"] in (None, row["requested_at"])
        assert {**row, "requested_at": 0} == {**slow, "requested_at": 0}


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=40), st.integers(0, 200), st.integers(0, 200))
def test_any_bytes_are_decoded_or_rejected(noise: bytes, start: int, length: int) -> None:
    """Noise within a payload never raises and never moves the neighbours."""
    whole = GOOD["all"]
    noisy = whole[:start] + noise + whole[start + length :]

    decoded = decode_json([payload("before"), noisy, payload("after")], None)

    ids = decoded.requests["request_id"].to_pylist()
    assert ids[0] == "before"
    assert ids[-1] == "after" or decoded.rejections[-1].fault == Fault.DUPLICATE
    assert len(ids) + len(decoded.rejections) == 3
