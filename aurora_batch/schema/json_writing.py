"""Rows as JSON objects: what the few distinct values of most columns say is formatted once.

Of most columns a batch has few distinct values: some hundred texts say what stands in ten thousand
rows. They, the names of the fields and what stands in one row alone become pieces of text, and one
kernel puts all rows together from them (`kernels.json_lines`).

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
from aurora_batch.schema.coded import Codes, Columns, Flat, Lists, codes_of
from kernels import json_lines as kernel

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

MOST_BYTES = 2**31 - 1  # of a binary column with offsets of 32 bits


class Leaf(NamedTuple):
    """A column, or a field of the elements of one: values, and which of them stands where."""

    before: str  # each value
    codes: I32  # of `values`; below zero: null
    values: pa.Array


class Step(NamedTuple):
    """A column of the table."""

    leaves: list[Leaf]  # one, or of lists the fields of their elements
    spans: I64 | None = None  # (2, n): of lists, where each begins and its length, -1 for null
    before: str = ""  # each list
    after: str = ""  # each element


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
    steps, n, before = [], 0, "{"
    for name, column in columns.items():
        before += f'"{name}":'
        if isinstance(column, Lists):
            steps.append(_lists(before, column))
            n = len(column.length)
        else:
            leaf = _leaf(before, column, name in own)
            steps.append(Step([leaf]))
            n = leaf.codes.size
        before = ","
    return _written(steps, n) if n else pa.array([], pa.binary())


def _leaf(before: str, column: Flat, own: bool = False) -> Leaf:
    """Return a column as a leaf; of texts, each stands for itself."""
    if isinstance(column, Codes) or not (own or pa.types.is_string(column.type)):
        return Leaf(before, *codes_of(column))
    codes = np.arange(len(column), dtype=np.int32)
    if column.null_count:
        codes[column.is_null().to_numpy(zero_copy_only=False)] = -1
    return Leaf(before, codes, column)


def _lists(before: str, column: Lists) -> Step:
    taken = np.maximum(column.length, 0)
    spans = np.stack([taken.cumsum() - taken, column.length])
    if "" in column.fields:
        return Step([_leaf("", column.fields[""])], spans, before)
    leaves = [
        _leaf(f'{"," if place else "{"}"{name}":', field)
        for place, (name, field) in enumerate(column.fields.items())
    ]
    return Step(leaves, spans, before, "}")


def _written(steps: list[Step], n: int) -> pa.BinaryArray:
    """Return the rows that these columns say."""
    leaves = [leaf for step in steps for leaf in step.leaves]
    words: list[str] = []
    plan = np.zeros((len(leaves), kernel.LEAF), np.int64)
    for row, leaf in zip(plan, leaves, strict=True):
        row[[kernel.BEFORE, kernel.NULL]] = len(words), len(words) + 1
        words += [leaf.before, leaf.before + "null"]
    counts = np.array([leaf.codes.size for leaf in leaves], np.int64)
    plan[:, kernel.CODES] = np.cumsum(counts) - counts
    order, spans = _order(steps, words)
    octets, bounds = _pieces(leaves, words, plan)
    codes = np.concatenate([leaf.codes for leaf in leaves], dtype=np.int32)
    known = np.array([len(leaf.values) for leaf in leaves], np.int64)
    out = np.empty(_room(plan, counts, known, order, bounds, n) + kernel.SPARE, np.uint8)
    ends = kernel.write_rows(octets, bounds, plan, order, codes, spans, n, out)
    if ends[-1] > MOST_BYTES:
        raise ValueError(f"Expected rows of at most {MOST_BYTES} bytes, got {ends[-1]}.")
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(out)]
    return pa.BinaryArray.from_buffers(pa.binary(), n, buffers, 0)


def _room(plan: I64, counts: I64, known: I64, order: I64, bounds: I64, n: int) -> int:
    """Return bytes that are enough for all rows: memory that nobody writes to costs nothing.

    Of each leaf there are `counts` codes of `known` values.
    """
    sizes, first = np.diff(bounds), plan[:, kernel.FIRST]
    up = np.lexsort((known, first))  # one without values begins where another does
    longest = np.zeros_like(first)
    longest[up] = np.maximum.reduceat(sizes, first[up])
    before = sizes[plan[:, [kernel.BEFORE, kernel.NULL]]].sum(axis=1)
    of_leaves = counts @ (before + longest + 2)
    lists = order[order[:, kernel.SPANS] >= 0]
    elements = counts[lists[:, kernel.LOW]]
    of_lists = n * (sizes[lists[:, [kernel.OPEN, kernel.NOTHING]]].sum() + len(lists))
    return int(of_leaves + of_lists + elements @ (sizes[lists[:, kernel.AFTER]] + 1) + n)


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
    kinds = [_kind(leaf.values.type) for leaf in leaves]
    for kind, form in enumerate((_texts, _times, _numbers)):
        own = [at for at, which in enumerate(kinds) if which == kind]
        if not own:
            continue
        plan[own, kernel.QUOTED] = form is not _numbers
        sizes = np.array([len(leaves[at].values) for at in own], np.int64)
        plan[own, kernel.FIRST] = count + np.cumsum(sizes) - sizes
        count += int(sizes.sum())
        parts.append(form(pa.concat_arrays([leaves[at].values for at in own])))
    parts.append(pa.array([" " * kernel.SPARE]))
    octets, bounds, _ = buffers_of(pa.concat_arrays(parts))
    return octets, bounds


def _kind(kind: pa.DataType) -> int:
    """Return which of texts, times and numbers this is."""
    return 2 if pa.types.is_floating(kind) else int(pa.types.is_timestamp(kind))


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
    short = [x.removesuffix("000").removesuffix("000").removesuffix(".") for x in said]
    return pa.array([f"{x}Z" for x in short], pa.string())
