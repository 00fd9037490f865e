"""Distinct values written once make the lines that a writer of row after row makes."""

import io
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_batch.schema import CODED_SCHEMA, DECISION_SCHEMA
from aurora_batch.schema.json_writing import json_lines

ROWS = 1_000

OWN = frozenset({"request_id", "decision_id", "cost_usd"})


def row_by_row(table: pa.Table) -> list[bytes]:
    """Return the lines as Polars writes them."""
    lines = io.BytesIO()
    frame = pl.DataFrame(table).with_columns(
        pl.col(pl.Datetime).dt.to_string("%Y-%m-%dT%H:%M:%S%.fZ")
    )
    frame.write_ndjson(lines)
    return lines.getvalue().splitlines()


def coded(table: pa.Table) -> pa.Table:
    """Return the same with the dictionaries of `CODED_SCHEMA`."""
    columns = [_coded(table[f.name].combine_chunks(), f.type) for f in CODED_SCHEMA]
    return pa.table(columns, schema=CODED_SCHEMA)


def _coded(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(kind):
        return column.dictionary_encode()
    if pa.types.is_list(kind):
        elements = _coded(column.values, kind.value_type)
        return pa.ListArray.from_arrays(column.offsets, elements, mask=column.is_null())
    if pa.types.is_struct(kind):
        fields = [_coded(column.field(f.name), f.type) for f in kind]
        return pa.StructArray.from_arrays(fields, fields=list(kind), mask=column.is_null())
    return column


def columns() -> st.SearchStrategy[dict[str, st.SearchStrategy[Any]]]:
    """Return what the values of each field are drawn from: few of them, or any."""
    text = st.text(st.characters(exclude_categories=("Cs", "Zl", "Zp"), exclude_characters="\x85"))
    numbers = st.floats() | st.sampled_from([0.0, -0.0, 1e16, 1e-7, 0.1])
    times = st.integers(0, 7_258_118_400_000_000) | st.sampled_from([0, 1_000, 1_000_000])
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "string": text, "double": numbers, "timestamp[us, tz=UTC]": times,
    }  # fmt: skip

    def leaf(kind: pa.DataType) -> st.SearchStrategy[st.SearchStrategy[Any]]:
        every = kinds[str(kind)]
        few = st.lists(every, min_size=1, max_size=3).map(st.sampled_from)
        chosen = st.just(every) | few
        return chosen | chosen.map(lambda s: s | st.none())

    def column(kind: pa.DataType) -> st.SearchStrategy[st.SearchStrategy[Any]]:
        if not pa.types.is_list(kind):
            return leaf(kind)
        if not pa.types.is_struct(kind.value_type):
            return leaf(kind.value_type).map(lambda s: st.lists(s, max_size=3))
        fields = st.fixed_dictionaries({f.name: leaf(f.type) for f in kind.value_type})
        return fields.map(lambda f: st.lists(st.fixed_dictionaries(f), max_size=3))

    return st.fixed_dictionaries({f.name: column(f.type) for f in DECISION_SCHEMA})


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_lines_are_those_of_a_writer_of_rows(data: st.DataObject) -> None:
    """Byte for byte: escapes, shortest numbers, nulls, times, empty lists."""
    of = st.fixed_dictionaries(data.draw(columns()))
    rows = data.draw(st.lists(of, min_size=1, max_size=8))
    table = pa.Table.from_pylist(rows, schema=DECISION_SCHEMA)

    assert json_lines(table, OWN).to_pylist() == row_by_row(table)
    assert json_lines(table).to_pylist() == row_by_row(table)
    assert json_lines(coded(table), OWN).to_pylist() == row_by_row(table)


@pytest.mark.parametrize("distinct", [1, 7, ROWS])
def test_many_rows(distinct: int) -> None:
    """Whether columns side by side become one piece or not; in slices and chunks as well."""
    rows = [
        dict.fromkeys(DECISION_SCHEMA.names)
        | {
            "request_id": f"r{i}" if i % 3 else None,
            "decision_id": f'"{i}',
            "status": "s",
            "provider": None if i % 5 else "p",
            "score": (i % distinct) / 3,
            "blocked_by": [f"x {j}" for j in range(i % 4)],
            "alternatives": [{"provider": f"{(i + j) % distinct}"} for j in range(i % 3)],
        }
        for i in range(2 * ROWS)
    ]
    table = pa.Table.from_pylist(rows, schema=DECISION_SCHEMA)
    both = table, coded(table)

    for low, high in ((0, len(rows)), (3, ROWS), (900, 901)):
        expected = row_by_row(table.slice(low, high - low))
        for some in both:
            assert json_lines(some.slice(low, high - low), OWN).to_pylist() == expected
    for some in both:
        pieces = [some.slice(1, 5), some.slice(900, 1_050)]
        expected = row_by_row(pa.concat_tables([table.slice(1, 5), table.slice(900, 1_050)]))
        assert json_lines(pa.concat_tables(pieces), OWN).to_pylist() == expected


def test_a_dictionary_may_hold_a_value_twice_or_for_nobody() -> None:
    """As those of a fleet do, whose offers may have one price; and null in place of a value."""
    codes = pa.array([0, 2, None, 3, 1], pa.int32())
    column = pa.DictionaryArray.from_arrays(codes, pa.array(["a", "b", "a", None, "nobody's"]))

    lines = json_lines(pa.table({"x": column})).to_pylist()
    assert lines == [b'{"x":"a"}', b'{"x":"a"}', b'{"x":null}', b'{"x":null}', b'{"x":"b"}']


def test_codes_of_few_bits_are_as_good() -> None:
    """Two columns whose values together are more than such a code can count."""
    names = [f"v{i}" for i in range(200)]
    column = pa.DictionaryArray.from_arrays(pa.array(range(200), pa.uint8()), pa.array(names))

    table = pa.table({"a": column, "b": column})
    for own in (frozenset[str](), frozenset({"b"})):
        lines = json_lines(table, own).to_pylist()
        assert lines == [f'{{"a":"{x}","b":"{x}"}}'.encode() for x in names]
