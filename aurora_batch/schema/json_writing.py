"""Rows as JSON objects: what the few distinct values of most columns say is formatted once.

Of most columns a batch has few distinct values: some hundred texts say what stands in ten thousand
rows. They, the names of the fields and what stands in one row alone become pieces of text, and one
kernel puts all rows together from them (`kernels.json_lines`). Columns side by side that one code
decides (`Choices`) are one piece, made once for all batches; what is the same in all rows is a part
of the name behind it.

The text is what Polars' `write_ndjson` writes: the shortest that reads back as the same number, no
escapes but those that JSON asks for, null for what is not finite.
"""

from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch.schema.buffers import buffers_of
from aurora_batch.schema.coded import Choices, Codes, Column, Columns, Flat, Lists, codes_of
from kernels import json_lines as kernel

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

MOST_BYTES = 2**31 - 1  # of a binary column with offsets of 32 bits


FEW = 1_000  # values that are sooner made, or joined, than looked through for what can be left out
TEXT, TIME, NUMBER, JSON = range(4)  # forms of values


class Leaf(NamedTuple):
    """A column, some side by side, or a field of the elements of one: what stands where."""

    before: str  # each value
    null: str  # in place of a value and what stands before it
    codes: I32 | None  # of `values`; below zero: null; None: each has its own
    values: pa.Array
    form: int


class Step(NamedTuple):
    """A column of the table, or some of one leaf."""

    leaves: list[Leaf]  # one, or of lists the fields of their elements
    spans: I64 | None = None  # (2, n): of lists, where each begins and its length, -1 for null
    before: str = ""  # each list
    after: str = ""  # each element


Named = list[tuple[str, Column]]


def json_lines(columns: Columns, own: frozenset[str] = frozenset()) -> pa.BinaryArray:
    """Return each row as a JSON object without a newline, (n,): every field, in their order.

    Parameters
    ----------
    columns
        By name; of text, float64 or timestamps in UTC, or of lists of text or of structs of them.
    own
        Columns of float64 of which nearly every value is another: it makes no difference but to how
        long this takes.

    Raises
    ------
    ValueError
        All rows together are 2 GiB or more.
    """
    rest, steps, before, n = list(columns.items()), list[Step](), "{", 0
    while rest:
        name, column = rest[0]
        if isinstance(column, Lists):
            steps.append(_lists(f'{before}"{name}":', column))
            n, rest = len(column.length), rest[1:]
        elif len(rest) > 1 and _same(column):
            before += f'"{name}":{_said(column)},'
            rest = rest[1:]
            continue
        else:
            leaf, rest = _leaf(before, rest, own)
            steps.append(Step([leaf]))
            n = len(leaf.values if leaf.codes is None else leaf.codes)
        before = ","
    return _written(steps, n) if n else pa.array([], pa.binary())


def _same(column: Flat) -> bool:
    """Whether a column says the same in every row, and somebody knows."""
    return isinstance(column, Codes) and len(column.values) == 1 and not column.codes.any()


def _said(column: Codes) -> str:
    """Return the one value of a column as JSON; not by calls that are made for many."""
    value = column.values[0]
    form = _form(value.type)
    if form == TEXT:
        return msgspec.json.encode(value.as_py()).decode()
    if form == TIME:
        return f'"{_time(str(np.datetime_as_string(np.datetime64(value.value, "us"))))}"'
    text: str = _numbers(column.values)[0].as_py()
    return text


def _leaf(before: str, rest: Named, own: frozenset[str] = frozenset()) -> tuple[Leaf, Named]:
    """Return the first columns as a leaf, and the others; the first is no list."""
    name, column = rest[0]
    assert not isinstance(column, Lists)
    if isinstance(column, Codes) and (choices := column.choices) and _all_of(column, rest):
        null = ",".join(f'"{n}":null' for n in choices.columns)
        said = _used(column.codes, _together(choices))
        return Leaf(before, before + null, *said, JSON), rest[len(choices.columns) :]
    codes, values = _used(*column[:2]) if isinstance(column, Codes) else (None, column)
    form = _form(values.type)
    before += f'"{name}":'
    if codes is None and form != TEXT and name not in own and len(values) > FEW:
        codes, values, _ = codes_of(values)
    if codes is None and values.null_count:
        codes = np.arange(len(values), dtype=np.int32)
        codes[values.is_null().to_numpy(zero_copy_only=False)] = -1
    return Leaf(before, before + "null", codes, values, form), rest[1:]


def _used(codes: I32, values: pa.Array) -> tuple[I32, pa.Array]:
    """Return codes and values without most of those that are nobody's, where they are many.

    All pieces are joined for each batch, and a large fleet has far more than a batch has rows.
    """
    if len(values) <= max(FEW, codes.size):
        return codes, values
    used, which = np.unique(np.maximum(codes, -1), return_inverse=True)
    absent = int((used < 0).sum())  # 0 or 1, the first
    return which.astype(np.int32) - np.int32(absent), values.take(pa.array(used[absent:]))


def _all_of(first: Codes, rest: Named) -> bool:
    """Whether all columns of the first one's choices stand here, in their order."""
    assert first.choices is not None
    names = list(first.choices.columns)
    run = rest[: len(names)]
    return [name for name, _ in run] == names and all(
        isinstance(c, Codes) and c.choices is first.choices and c.codes is first.codes
        for _, c in run
    )


def _together(choices: Choices) -> pa.Array:
    """Return what the columns of choices say of each code, as JSON; made once."""
    if "json" not in choices.made:
        parts: list[pa.Array | str] = []
        for place, (name, values) in enumerate(choices.columns.items()):
            quote = "" if _form(values.type) == NUMBER else '"'
            parts += [f'{"," * (place > 0)}"{name}":{quote}', _form_of(values), quote]
        choices.made["json"] = pc.binary_join_element_wise(*parts, "")
    return choices.made["json"]


def _lists(before: str, column: Lists) -> Step:
    taken = np.maximum(column.length, 0)
    spans = np.stack([taken.cumsum() - taken, column.length])
    if "" in column.fields:
        return Step([_plain(column.fields[""])], spans, before)
    rest, leaves = list[tuple[str, Column]](column.fields.items()), list[Leaf]()
    while rest:
        leaf, rest = _leaf("," if leaves else "{", rest)
        leaves.append(leaf)
    return Step(leaves, spans, before, "}")


def _plain(column: Flat) -> Leaf:
    """Return the elements of lists, which have no name."""
    codes, values, _ = codes_of(column)
    return Leaf("", "null", codes, values, _form(values.type))


def _written(steps: list[Step], n: int) -> pa.BinaryArray:
    """Return the rows that these columns say."""
    leaves = [leaf for step in steps for leaf in step.leaves]
    words: list[str] = []
    plan = np.zeros((len(leaves), kernel.LEAF), np.int64)
    coded, taken = [np.zeros(0, np.int32)], 0
    for row, leaf in zip(plan, leaves, strict=True):
        row[: kernel.FIRST] = len(words), len(words) + 1, leaf.form in (TEXT, TIME)
        words += [leaf.before, leaf.null]
        row[kernel.CODES] = -1
        if leaf.codes is not None:
            row[kernel.CODES] = taken
            taken += leaf.codes.size
            coded.append(leaf.codes)
    order, spans = _order(steps, words)
    octets, bounds = _pieces(leaves, words, plan)
    codes = np.concatenate(coded, dtype=np.int32)
    ends = kernel.row_ends(bounds, plan, order, codes, spans, n)
    if ends[-1] > MOST_BYTES:
        raise ValueError(f"Expected rows of at most {MOST_BYTES} bytes, got {ends[-1]}.")
    out = np.empty(int(ends[-1]) + kernel.SPARE, np.uint8)
    kernel.write_rows(octets, bounds, plan, order, codes, spans, ends, out)
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(out)]
    return pa.BinaryArray.from_buffers(pa.binary(), n, buffers, 0)


def _order(steps: list[Step], words: list[str]) -> tuple[I64, I64]:
    """Return the steps as the kernel reads them, and their spans; adds what stands about lists."""
    order = np.zeros((len(steps), kernel.STEP), np.int64)
    spans = [np.zeros(0, np.int64)]
    low = taken = 0
    for row, step in zip(order, steps, strict=True):
        row[: kernel.OPEN] = low, len(step.leaves), -1
        low += len(step.leaves)
        if step.spans is not None:
            row[kernel.SPANS :] = taken, len(words), len(words) + 1, len(words) + 2
            words += [step.before + "[", step.before + "null", step.after]
            spans.append(step.spans.ravel())
            taken += step.spans.size
    return order, np.concatenate(spans)


def _pieces(leaves: list[Leaf], words: list[str], plan: I64) -> tuple[U8, I64]:
    """Return the bytes of all pieces and their bounds; says in the plan which are whose."""
    parts = [pa.array(words, pa.string())]
    count = len(words)
    for form in (TEXT, TIME, NUMBER, JSON):
        own: list[pa.Array] = []
        for row, leaf in zip(plan, leaves, strict=True):
            if leaf.form == form:
                row[kernel.FIRST] = count
                count += len(leaf.values)
                own.append(leaf.values)
        if own:
            values = pa.concat_arrays(own)
            parts.append(values if form == JSON else _form_of(values))
    parts.append(pa.array([" " * kernel.SPARE]))
    octets, bounds, _ = buffers_of(pa.concat_arrays(parts))
    return octets, bounds


def _form(kind: pa.DataType) -> int:
    """Return the form of values of a type."""
    if pa.types.is_floating(kind):
        return NUMBER
    return TIME if pa.types.is_timestamp(kind) else TEXT


def _form_of(values: pa.Array) -> pa.Array:
    """Return values as JSON says them, between quotes but for numbers."""
    return (_texts, _times, _numbers)[_form(values.type)](values)


def _texts(texts: pa.Array) -> pa.Array:
    """Return texts as JSON says them between its quotes."""
    octets, bounds, _ = buffers_of(texts)
    data = octets[bounds[0] : bounds[-1]]
    odd = np.flatnonzero((data < ord(" ")) | (data == ord('"')) | (data == ord("\\")))
    if not odd.size:
        return texts
    rows = np.unique(np.searchsorted(bounds, odd + bounds[0], side="right") - 1)
    said = [msgspec.json.encode(x).decode()[1:-1] for x in texts.take(pa.array(rows)).to_pylist()]
    mask = np.zeros(len(texts), np.bool_)
    mask[rows] = True
    return pc.replace_with_mask(texts, pa.array(mask), pa.array(said, pa.string()))


def _numbers(numbers: pa.Array) -> pa.Array:
    """Return the shortest text that reads back as each number, null where it is not finite."""
    values = numbers.to_numpy(zero_copy_only=False)  # NaN for null
    said = pl.Series(values).cast(pl.String).to_arrow().cast(pa.string())
    finite = np.isfinite(values)
    return said if finite.all() else pc.if_else(pa.array(finite), said, "null")


def _times(times: pa.Array) -> pa.Array:
    """Return RFC 3339 of each time, with as many digits behind the point as say it: 0, 3 or 6."""
    said = np.datetime_as_string(times.fill_null(0).to_numpy(), unit="us").tolist()
    return pa.array(list(map(_time, said)), pa.string())


def _time(said: str) -> str:
    """Return a moment that is said to the microsecond as shortly as it can be."""
    return said.removesuffix("000").removesuffix("000").removesuffix(".") + "Z"
