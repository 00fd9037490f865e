"""A dead letter says why and whence, and can be sent again."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from aurora_batch.model import Fault
from aurora_batch.schema import (
    Record,
    Records,
    Rejection,
    dead_letter_headers,
    dead_letter_value,
    decode,
    pack_dead_letter_headers,
)
from aurora_batch.schema.records import pack_headers
from tests.aurora_batch.schema.test_arrow import HEADERS, columns, stream


def test_headers_say_why_and_whence() -> None:
    """Reason, detail, coordinates and time, beside the record's own headers."""
    own = (("traceparent", b"00-1"), ("ce_id", b"7"))
    record = Record(b"{", b"key", "aurora.requests", 3, 41, 1_767_268_800_123_456, own)
    rejection = Rejection(0, None, Fault.MALFORMED, "payload: é", None)

    assert dead_letter_headers(record, rejection) == (
        *own,
        ("aurora-reason", b"malformed"),
        ("aurora-detail", "payload: é".encode()),
        ("aurora-topic", b"aurora.requests"),
        ("aurora-partition", b"3"),
        ("aurora-offset", b"41"),
        ("aurora-schema-version", b"1"),
        ("aurora-timestamp", b"2026-01-01T12:00:00.123456Z"),
    )


HEADER = st.tuples(
    st.sampled_from(["traceparent", "aurora-reason", "aurora-redriven-from", "ü"]),
    st.binary(max_size=200),
)
RECORDS = st.builds(
    Record, st.none(), st.none(), st.sampled_from(["", "aurora.requests"]), st.integers(0, 999),
    st.integers(0, 2**62), st.integers(-1, 2**47), st.lists(HEADER, max_size=3).map(tuple),
)  # fmt: skip
REJECTIONS = st.builds(
    Rejection, st.just(0), st.none() | st.integers(0, 10**6), st.sampled_from(Fault),
    st.text(max_size=99), st.none(),
)  # fmt: skip


@given(st.lists(st.tuples(RECORDS, REJECTIONS), min_size=1, max_size=5))
def test_headers_are_packed_as_they_are_said(
    died: list[tuple[Record, Rejection]],
) -> None:
    """What many letters share is packed once, and nobody can tell; one record may die by rows."""
    records = [structs.replace(record, topic="aurora.requests") for record, _ in died]
    which = [*range(len(died)), 0]
    rejections = [rejection for _, rejection in died] + [died[-1][1]]

    packed = pack_dead_letter_headers(Records.of(records), which, rejections)

    assert packed == [
        pack_headers(dead_letter_headers(records[i], rejection))
        for i, rejection in zip(which, rejections, strict=True)
    ]


def test_second_death_replaces_the_first() -> None:
    """A dead letter that was sent again carries one reason."""
    first = dead_letter_headers(Record(b"{"), Rejection(0, None, Fault.MALFORMED, "first", None))
    again = dead_letter_headers(
        Record(b"{", headers=first), Rejection(0, None, Fault.TOO_LARGE, "second", None)
    )

    assert [value for name, value in again if name == "aurora-reason"] == [b"too_large"]
    assert "aurora-timestamp" not in dict(again)


def test_where_it_was_sent_again_from_stays() -> None:
    """Of all `aurora-` headers this one is the record's own."""
    came = ("aurora-redriven-from", b"aurora.requests:3:41")
    rejection = Rejection(0, None, Fault.MALFORMED, "again", None)

    headers = dead_letter_headers(Record(b"{", headers=(came,)), rejection)

    assert headers[0] == came


def test_value_is_the_bytes_that_were_sent() -> None:
    """Even where there were none."""
    rejection = Rejection(0, None, Fault.MALFORMED, "", None)

    assert dead_letter_value(Record(b"\xff{"), rejection) == b"\xff{"
    assert dead_letter_value(Record(None), rejection) is None


@pytest.mark.parametrize("layout", ["plain", "dictionary", "compressed"])
def test_row_of_an_arrow_payload_is_a_stream_of_that_row(layout: str) -> None:
    """Nothing of the other rows is in it; mended, it is a request."""
    names = pa.array([f"gpu-of-{i}" for i in range(50)])
    names = names.dictionary_encode() if layout == "dictionary" else names
    hours = [1.0] * 50
    hours[7] = -1.0
    options = {"compression": "zstd"} if layout == "compressed" else {}
    table = columns(50, gpu_type=names, gpu_hours=hours)
    record = Record(stream(table, **options), headers=HEADERS)
    (rejection,) = decode([record], max_clock_skew_s=300).rejections

    value = dead_letter_value(record, rejection)

    assert value is not None
    assert b"gpu-of-8" not in value
    row = pa.ipc.open_stream(value).read_all()
    assert row.to_pylist() == [table.to_pylist()[7]]
    mended = row.set_column(3, "gpu_hours", pa.array([1.0]))
    found = decode([Record(stream(mended), headers=HEADERS)], max_clock_skew_s=300)
    assert found.requests["request_id"].to_pylist() == ["r7"]
    assert dict(dead_letter_headers(record, rejection))["aurora-row"] == b"7"
