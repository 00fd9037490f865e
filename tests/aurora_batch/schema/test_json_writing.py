"""Distinct values written once make the lines that a writer of row after row makes."""

import io
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurora_batch.schema import DECISION_SCHEMA, Choices, Codes, Decisions, Lists, codes_of
from aurora_batch.schema.coded import Column, Columns, columns_of
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


def coded(columns: Columns) -> Columns:
    """Return the same columns, whatever they are, as codes."""
    return {name: _coded(column) for name, column in columns.items()}


def _coded(column: Column) -> Column:
    if isinstance(column, Lists):
        return Lists(column.length, {n: codes_of(field) for n, field in column.fields.items()})
    return codes_of(column)


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

    said = columns_of(table)
    assert json_lines(said, OWN).to_pylist() == row_by_row(table)
    assert json_lines(said).to_pylist() == row_by_row(table)
    assert json_lines(coded(said), OWN).to_pylist() == row_by_row(table)
    assert str(Decisions(coded(said)).to_table().to_pylist()) == str(table.to_pylist())  # NaN too


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

    pieces = pa.concat_tables([table.slice(1, 5), table.slice(900, 1_050)])
    for some in (table, table.slice(3, ROWS), table.slice(900, 1), pieces):
        said = columns_of(some)
        for columns in (said, coded(said)):
            assert json_lines(columns, OWN).to_pylist() == row_by_row(some)
            assert Decisions(columns).to_table().equals(some)


def test_a_value_may_stand_twice_or_for_nobody() -> None:
    """As those of a fleet do, whose offers may have one price."""
    codes = np.array([0, 2, -1, 1], np.int32)
    column = Codes(codes, pa.array(["a", "b", "a", "nobody's"]))

    lines = json_lines({"x": column}).to_pylist()
    assert lines == [b'{"x":"a"}', b'{"x":"a"}', b'{"x":null}', b'{"x":"b"}']


UTC = pa.timestamp("us", tz="UTC")
CHOICES = Choices(
    {
        "a": pa.array(['"x"', "", "ä\n"]),
        "b": pa.array([1.5, float("inf"), 1e-7]),
        "c": pa.array([0, 1_000, 1], UTC),
    }
)


@pytest.mark.parametrize("codes", [[0, 2, -1, 1], [-1], [1, 1]])
def test_columns_by_one_code_are_the_same_together(codes: list[int]) -> None:
    """First, last, between others and as fields of lists; half of them, or by codes of another."""
    chosen = CHOICES.at(np.array(codes, np.int32))
    alone = {name: Codes(c.codes, c.values) for name, c in chosen.items()}
    other = {"z": pa.array(["z"] * len(codes))}
    elements = np.ones(len(codes), np.int64)
    mixed = {**chosen, "c": CHOICES.at(np.array(codes[::-1], np.int32))["c"]}
    for made, expected in (
        (chosen, alone),
        ({**other, **chosen, "end": other["z"]}, {**other, **alone, "end": other["z"]}),
        ({"x": Lists(elements, {**chosen, **other})}, {"x": Lists(elements, {**alone, **other})}),
        ({"a": chosen["a"], "b": chosen["b"]}, {"a": alone["a"], "b": alone["b"]}),
        (mixed, {**alone, "c": Codes(mixed["c"].codes, mixed["c"].values)}),
    ):
        assert json_lines(made).to_pylist() == json_lines(expected).to_pylist()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (pa.array(['a "b"']), b'"a \\"b\\""'),
        (pa.array([0.1]), b"0.1"),
        (pa.array([float("nan")]), b"null"),
        (pa.array([1_500_000], UTC), b'"1970-01-01T00:00:01.500Z"'),
        (pa.array([-1], UTC), b'"1969-12-31T23:59:59.999999Z"'),
    ],
)
def test_what_every_row_says_is_said_in_each(value: pa.Array, said: bytes) -> None:
    """In front of another column, of a list, of another such one, and last."""
    same, n = Codes(np.zeros(3, np.int32), value), 3
    some = Codes(np.array([0, -1, 0], np.int32), value)
    lists = Lists(np.zeros(n, np.int64), {"": pa.array([], pa.string())})

    lines = json_lines({"a": same, "b": same, "c": lists, "d": same, "e": some, "f": same})
    for line, own in zip(lines.to_pylist(), (said, b"null", said), strict=True):
        expected = b'{"a":%b,"b":%b,"c":[],"d":%b,"e":%b,"f":%b}' % (said, said, said, own, said)
        assert line == expected


@pytest.mark.parametrize("codes", [[2_999, 0, -1, 7], [5] * 3, [-1, -2]])
def test_of_more_values_than_rows_only_some_are_pieces(codes: list[int]) -> None:
    """As of a large fleet: by codes of one column, of several, and in lists."""
    many = [f"offer {i}" for i in range(3_000)]
    choices = Choices({"a": pa.array(many), "b": pa.array(np.arange(3_000.0))})
    chosen = choices.at(np.array(codes, np.int32))
    lists = Lists(np.ones(len(codes), np.int64), dict(chosen))

    lines = json_lines({**chosen, "x": Codes(chosen["a"].codes, chosen["a"].values), "y": lists})
    for line, code in zip(lines.to_pylist(), codes, strict=True):
        a, b = (f'"{many[code]}"', f"{code}.0") if code >= 0 else ("null", "null")
        said = f'"a":{a},"b":{b}'
        assert line.decode() == f'{{{said},"x":{a},"y":[{{{said}}}]}}'


def test_no_values_are_null() -> None:
    """As in a fleet without offers."""
    column = Codes(np.array([-1, -1], np.int32), pa.array([], pa.float64()))

    assert json_lines({"x": column}).to_pylist() == [b'{"x":null}'] * 2


def test_there_is_room_where_a_column_has_no_values() -> None:
    """It begins where the next one does, whose longest value still counts as that one's."""
    codes = np.ones(1_000, np.int32)
    codes[0] = 0
    columns: Columns = {
        "a": Codes(codes, pa.array([1.0, -1.2345678901234568e-300])),
        "b": Lists(np.zeros(1_000, np.int64), {"": pa.array([], pa.timestamp("us", tz="UTC"))}),
    }

    made = json_lines(columns)
    made.validate(full=True)  # all of it lies in what was reserved for it
    lines = made.to_pylist()
    assert lines[0] == b'{"a":1.0,"b":[]}'
    assert set(lines[1:]) == {b'{"a":-1.2345678901234568e-300,"b":[]}'}


def test_only_texts_that_need_it_are_escaped() -> None:
    """Those beside them, in slices and empty ones, stay as they are."""
    texts = pa.array(["no", 'a "b"', "", None, "c\\d", "\n", "ä", "no"])

    for column in (texts, texts[1:], texts[2:6], texts.take(pa.array([4, 0]))):
        table = pa.table({"x": column})
        assert json_lines(columns_of(table)).to_pylist() == row_by_row(table)
