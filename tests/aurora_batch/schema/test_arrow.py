"""Arrow IPC payloads and tables: layouts, bad rows, hostile streams, mixes with JSON."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_batch.errors import LogError
from aurora_batch.model import Fault
from aurora_batch.schema import ARROW_CONTENT_TYPE, Decoded, Record, Records, decode, decode_table
from aurora_batch.schema.arrow_reading import open_ipc
from aurora_batch.schema.ipc_size import unpacked_bytes
from tests.aurora_batch.schema.payloads import NOON, payload

HEADERS = (("content-type", ARROW_CONTENT_TYPE.encode()),)
NOON_TIME = datetime(2026, 1, 1, 12, tzinfo=UTC)


def columns(n: int = 3, **changed: Any) -> pa.Table:
    """Return a layout of n rows; `...` takes a column out."""
    usual: dict[str, Any] = {
        "request_id": [f"r{i}" for i in range(n)],
        "workload_type": ["general"] * n,
        "gpu_type": ["RTX 4090"] * n,
        "gpu_hours": [1.0] * n,
    }
    return pa.table({k: v for k, v in (usual | changed).items() if v is not ...})


def stream(table: pa.Table, **options: Any) -> bytes:
    """Return the table as an IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as out:
        out.write_table(table)
    payload: bytes = sink.getvalue().to_pybytes()
    return payload


def decoded(*payloads: bytes | None) -> Decoded:
    """Decode Arrow payloads, a record each."""
    return decode([Record(p, headers=HEADERS) for p in payloads], max_clock_skew_s=300)


LAYOUTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "large strings": {"gpu_type": pa.array(["4090"] * 3, pa.large_string())},
    "dictionary": {"gpu_type": pa.array(["RTX4090"] * 3).dictionary_encode()},
    "dictionary of ids": {"request_id": pa.array(["r0", "r1", "r2"]).dictionary_encode()},
    "lists": {"gpu_type": [["4090"], ["RTX 4090", "4090"], ["4090", ""]]},
    "large lists": {"gpu_type": pa.array([["4090"]] * 3, pa.large_list(pa.string()))},
    "lists of dictionary": {
        "gpu_type": pa.array([["4090"]] * 3, pa.list_(pa.dictionary(pa.int8(), pa.string())))
    },
    "integers": {"gpu_hours": pa.array([1, 1, 1], pa.int8())},
    "unsigned": {"gpu_hours": pa.array([1, 1, 1], pa.uint64())},
    "float32": {"gpu_hours": pa.array([1, 1, 1], pa.float32())},
    "decimal": {"gpu_hours": pa.array([1, 1, 1], pa.decimal128(10, 2))},
    "nulls": {"max_price": pa.nulls(3), "weights": pa.nulls(3), "region": pa.nulls(3)},
    "no weights said": {"weights": pa.array([{}, None, {}], pa.struct([("price", pa.float32())]))},
    "unknown columns": {"note": ["x"] * 3, "more": [{"a": 1}] * 3},
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layouts_are_one_request(layout: dict[str, Any]) -> None:
    """Whatever castable types say the same thing, the requests are the same."""
    expected = decoded(stream(columns())).requests

    found = decoded(stream(columns(**layout)))

    assert found.rejections == []
    assert found.requests.equals(expected)
    assert expected["gpu_type"].to_pylist() == ["4090"] * 3


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "+02:00"])
def test_times_of_any_unit_and_zone(unit: str, zone: str) -> None:
    """An instant is an instant."""
    times = pa.array([NOON_TIME] * 3, pa.timestamp("us", "UTC")).cast(pa.timestamp(unit, zone))

    found = decoded(stream(columns(requested_at=times)))

    assert found.requests["requested_at"].to_pylist() == [NOON_TIME] * 3


def test_times_as_text() -> None:
    """RFC 3339 text is read as in JSON, row by row."""
    times = [NOON, "2026-01-01T12:00:00", "2026-02-30T12:00:00Z"]

    found = decoded(stream(columns(requested_at=times)))

    assert found.requests["requested_at"].to_pylist() == [NOON_TIME]
    assert [(r.row, r.fault) for r in found.rejections] == [
        (1, Fault.WRONG_TYPE),
        (2, Fault.OUT_OF_RANGE),
    ]


NAIVE = pa.array([NOON_TIME.replace(tzinfo=None)] * 3, pa.timestamp("us"))
X, T = Fault.MISSING_FIELD, Fault.WRONG_TYPE
BAD_TABLES: dict[str, tuple[dict[str, Any], Fault]] = {
    "no request_id": ({"request_id": ...}, X),
    "no gpu_hours": ({"gpu_hours": ...}, X),
    "text for hours": ({"gpu_hours": ["1", "2", "3"]}, T),
    "bool for hours": ({"gpu_hours": [True] * 3}, T),
    "list for hours": ({"gpu_hours": [[1.0]] * 3}, T),
    "number for id": ({"request_id": [1, 2, 3]}, T),
    "binary for id": ({"request_id": [b"a", b"b", b"c"]}, T),
    "views": ({"gpu_type": pa.array(["4090"] * 3, pa.string_view())}, T),
    "dictionary of numbers": ({"gpu_type": pa.array([1, 2, 3]).dictionary_encode()}, T),
    "lists of numbers": ({"gpu_type": [[1], [2], [3]]}, T),
    "weights as numbers": ({"weights": [1.0, 2.0, 3.0]}, T),
    "weights of text": ({"weights": [{"price": "1"}] * 3}, T),
    "naive times": ({"requested_at": NAIVE}, T),
    "times as numbers": ({"requested_at": [1, 2, 3]}, T),
    "dates": ({"requested_at": NAIVE.cast(pa.date32())}, T),
}


@pytest.mark.parametrize(("changed", "fault"), BAD_TABLES.values(), ids=BAD_TABLES)
def test_wrong_columns_reject_the_record(changed: dict[str, Any], fault: Fault) -> None:
    """One rejection for the whole payload; the records around it are untouched."""
    first, last = stream(columns(request_id=["a", "b", "c"])), stream(columns(1))

    found = decoded(first, stream(columns(**changed)), last)

    assert [(r.index, r.row, r.fault) for r in found.rejections] == [(1, None, fault)]
    assert found.requests["request_id"].to_pylist() == ["a", "b", "c", "r0"]
    assert found.index.tolist() == [0, 0, 0, 2]


def test_column_named_twice_rejects_the_record() -> None:
    """Nobody can say which is meant."""
    table = columns()
    twice = table.append_column("gpu_hours", table["gpu_hours"])

    assert decoded(stream(twice)).rejections[0].fault == Fault.WRONG_TYPE


BAD_ROWS: dict[str, tuple[dict[str, Any], Fault]] = {
    "null id": ({"request_id": ["a", None, "c"]}, X),
    "null workload": ({"workload_type": ["a", None, "c"]}, X),
    "null gpu": ({"gpu_type": ["a", None, "c"]}, X),
    "null list": ({"gpu_type": [["a"], None, ["c"]]}, X),
    "null hours": ({"gpu_hours": [1.0, None, 1.0]}, X),
    "null in list": ({"gpu_type": [["a"], ["b", None], ["c"]]}, T),
    "empty list": ({"gpu_type": [["a"], [], ["c"]]}, Fault.OUT_OF_RANGE),
    "NaN": ({"gpu_hours": [1.0, float("nan"), 1.0]}, Fault.OUT_OF_RANGE),
    "infinite": ({"gpu_hours": [1.0, float("inf"), 1.0]}, Fault.OUT_OF_RANGE),
    "minus infinite": ({"max_price": [1.0, -float("inf"), 1.0]}, Fault.OUT_OF_RANGE),
    "NaN weight": (
        {"weights": [None, {"price": float("nan")}, {"price": 1.0}]},
        Fault.OUT_OF_RANGE,
    ),
    "absurd time": (
        {"requested_at": pa.array([0, 2**62, 0]).cast(pa.timestamp("s", "UTC"))},
        Fault.OUT_OF_RANGE,
    ),
    "time before the epoch": (
        {"requested_at": pa.array([0, -1, 0]).cast(pa.timestamp("us", "UTC"))},
        Fault.OUT_OF_RANGE,
    ),
    "duplicate": ({"request_id": ["a", "a", "c"]}, Fault.DUPLICATE),
}


@pytest.mark.parametrize(("changed", "fault"), BAD_ROWS.values(), ids=BAD_ROWS)
def test_bad_row_costs_that_row(changed: dict[str, Any], fault: Fault) -> None:
    """A rejection says the row; the rows around it are as without it."""
    table = columns(**changed)

    found = decoded(stream(table))

    assert [(r.index, r.row, r.fault) for r in found.rejections] == [(0, 1, fault)]
    assert found.requests.equals(decoded(stream(table.take([0, 2]))).requests)


WHOLE = stream(columns(100))
BROKEN: dict[str, bytes | None] = {
    "tombstone": None,
    "empty": b"",
    "json": payload(),
    "noise": bytes(range(256)),
    "truncated": WHOLE[: len(WHOLE) // 2],
    "a file, not a stream": b"ARROW1\0\0" + WHOLE,
    "huge metadata length": b"\xff\xff\xff\xff\xff\xff\xff\x7f" + WHOLE[8:],
    "no schema": WHOLE[WHOLE.index(b"\xff\xff\xff\xff", 4) :],
    "broken text": stream(columns()).replace(b"RTX", b"R\xff\xfe"),
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_broken_stream_rejects_the_record(broken: bytes | None) -> None:
    """What is no Arrow stream is malformed, and costs nobody else."""
    found = decoded(stream(columns(1)), broken)

    assert [(r.index, r.row, r.fault) for r in found.rejections] == [(1, None, Fault.MALFORMED)]
    assert found.requests.num_rows == 1


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(WHOLE)), st.binary(min_size=1, max_size=8))
def test_any_damage_is_rejected_or_harmless(at: int, noise: bytes) -> None:
    """No damage raises or reaches the neighbours."""
    damaged = WHOLE[:at] + noise + WHOLE[at + len(noise) :]

    found = decoded(damaged, stream(columns(request_id=["x", "y", "z"])))

    assert found.requests["request_id"].to_pylist()[-3:] == ["x", "y", "z"]


@pytest.mark.parametrize("compression", ["zstd", "lz4"])
def test_compressed_streams_are_read(compression: str) -> None:
    """Both codecs of the format."""
    found = decoded(stream(columns(1000), compression=compression))

    assert found.requests.equals(decoded(stream(columns(1000))).requests)


def test_bomb_is_too_large_before_it_is_unpacked() -> None:
    """A few megabytes that decompress to 360 MB are told by their metadata."""
    note = pa.array(["x" * 400]).take(pa.array(np.zeros(900_000, np.int64)))
    table = pa.table({"note": note})
    bomb = stream(table, compression="zstd")

    found = decoded(bomb)

    assert len(bomb) < 2**22
    assert unpacked_bytes(bomb)[1] > 360_000_000
    assert [r.fault for r in found.rejections] == [Fault.TOO_LARGE]


def test_too_many_rows_are_too_large() -> None:
    """Rows cost nothing in a stream of nulls, and much afterwards."""
    many = pa.table({"request_id": pa.nulls(1_000_001)})

    assert decoded(stream(many)).rejections[0].fault == Fault.TOO_LARGE


def test_dictionary_of_a_huge_value_is_too_large() -> None:
    """One value, a million times, would be a column of gigabytes."""
    codes, value = pa.array(np.zeros(100_000, np.int32)), pa.array(["x" * 100_000])
    names = pa.DictionaryArray.from_arrays(codes, value)

    found = decoded(stream(columns(100_000, gpu_type=names)))

    assert [(r.row, r.fault) for r in found.rejections] == [(None, Fault.TOO_LARGE)]


def test_oversize_payload_is_too_large() -> None:
    """Told by its length alone."""
    assert decoded(bytes(17 * 2**20)).rejections[0].fault == Fault.TOO_LARGE


def test_stream_without_rows_is_nothing() -> None:
    """Neither request nor rejection."""
    found = decoded(stream(columns(0)), stream(columns(1)))

    assert found.rejections == []
    assert found.index.tolist() == [1]


def test_json_and_arrow_mix_in_the_order_of_the_records() -> None:
    """Rows stand where their records stood, duplicates are seen across forms."""
    table = columns(3, request_id=["a", "b", "c"], gpu_hours=[1.0, -1.0, 1.0])
    records = [
        Record(payload("first")), Record(stream(table), headers=HEADERS),
        Record(b"{"), Record(payload("c")), Record(payload("last", gpu_type=["h100"])),
    ]  # fmt: skip

    found = decode(records, max_clock_skew_s=300)

    assert found.requests["request_id"].to_pylist() == ["first", "a", "c", "last"]
    assert found.index.tolist() == [0, 1, 1, 4]
    assert [(r.index, r.row, r.fault) for r in found.rejections] == [
        (1, 1, Fault.OUT_OF_RANGE),
        (2, None, Fault.MALFORMED),
        (3, None, Fault.DUPLICATE),
    ]


def names(first: int, n: int) -> list[str]:
    """Return ids that no other payload has."""
    return [f"{first}-{i}" for i in range(n)]


TABLES = st.lists(
    st.tuples(
        st.sampled_from([*LAYOUTS.values(), *(layout for layout, _ in BAD_TABLES.values())]),
        st.sampled_from([0, 1, 3]),  # rows
    ),
    max_size=6,
)


@settings(max_examples=200, deadline=None)
@given(TABLES)
def test_payloads_are_read_together_as_each_alone(tables: list[tuple[dict[str, Any], int]]) -> None:
    """Neighbours of one layout or of several, of no rows, and such that are none."""
    payloads = [
        stream(columns(**({"request_id": names(i, 3)} | layout)).slice(0, n))
        for i, (layout, n) in enumerate(tables)
    ]
    alone = [decoded(payload) for payload in payloads]

    found = decoded(*payloads)

    ids = [name for each in alone for name in each.requests["request_id"].to_pylist()]
    again = [name for i, name in enumerate(ids) if name in ids[:i]]
    assert found.requests["request_id"].to_pylist() == list(dict.fromkeys(ids))
    expected = [
        (i, r.row, r.fault, r.detail) for i, each in enumerate(alone) for r in each.rejections
    ]
    said = [(r.index, r.row, r.fault, r.detail) for r in found.rejections]
    assert [r for r in said if r[2] != Fault.DUPLICATE] == expected
    assert len(said) - len(expected) == len(again)
    assert found.unknown_fields == sum((each.unknown_fields for each in alone), Counter())


def test_columns_of_records_are_decoded_as_records_are() -> None:
    """In a part of them too, whatever headers they have."""
    other = (("traceparent", b"x"),)
    records = [
        Record(payload("a")), Record(stream(columns(2)), headers=HEADERS),
        Record(payload("b"), headers=other), Record(None), Record(b"{", headers=HEADERS),
        Record(stream(columns(1, request_id=["c"])), headers=other + HEADERS), Record(payload("d")),
    ]  # fmt: skip

    for low, high in ((0, 7), (1, 6), (2, 4), (6, 7), (3, 3)):
        found = decode(Records.of(records)[low:high], max_clock_skew_s=300)

        expected = decode(records[low:high], max_clock_skew_s=300)
        assert found.requests.equals(expected.requests)
        assert found.rejections == expected.rejections


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Content-Type", b"Application/vnd.apache.arrow.stream; charset=binary"),
        ("content-type", b" application/vnd.apache.arrow.stream "),
    ],
)
def test_content_type_is_read_as_http_reads_it(name: str, value: bytes) -> None:
    """Case, space and parameters do not matter."""
    record = Record(stream(columns(1)), headers=(("traceparent", b"x"), (name, value)))

    assert decode([record], max_clock_skew_s=300).requests.num_rows == 1


def test_columns_are_counted_where_unknown() -> None:
    """Once a row, as in JSON."""
    table = columns(note=["x"] * 3, weights=[{"prise": 1.0, "price": 1.0}, None, None])

    assert decoded(stream(table)).unknown_fields == {"note": 3, "weights.prise": 1}


def test_payload_is_opened_once_for_its_dead_letters() -> None:
    """Rows of one payload share what was decoded."""
    body = stream(columns())

    assert open_ipc(body) is open_ipc(body)


def test_table_times_without_zone_are_utc() -> None:
    """Files say no zone; a column of text may leave it out too."""
    as_time = decode_table(columns(requested_at=NAIVE)).requests
    as_text = decode_table(columns(requested_at=["2026-01-01 12:00:00"] * 3)).requests

    assert as_time["requested_at"].to_pylist() == [NOON_TIME] * 3
    assert as_text.equals(as_time)


def test_table_without_a_required_column_is_an_error() -> None:
    """Both a caller's mistake and a log that cannot be read, in one line."""
    with pytest.raises(LogError, match="gpu_hours: expected a column"):
        decode_table(columns(gpu_hours=...))
    with pytest.raises(ValueError, match="gpu_hours: expected double, got string"):
        decode_table(columns(gpu_hours=["1", "2", "3"]))


def test_polars_frame_with_categories_and_views() -> None:
    """What a notebook has at hand."""
    frame = pl.DataFrame(columns()).with_columns(pl.col("gpu_type").cast(pl.Categorical))

    found = decode_table(frame.to_arrow(compat_level=pl.CompatLevel.newest()))

    assert found.requests.equals(decode_table(columns()).requests)


def test_rejections_of_a_table_are_at_its_rows() -> None:
    """A table's rows are its positions, over chunks too."""
    table = pa.concat_tables([columns(2), columns(2, request_id=["x", None])])

    found = decode_table(table)

    assert [(r.index, r.row) for r in found.rejections] == [(3, None)]
    assert found.index.tolist() == [0, 1, 2]
