"""Rows as JSON objects, each distinct value written once.

Of most columns a batch has few distinct values: some hundred texts say what stands in ten thousand
rows. So those are formatted, with the name of their field before them; a row is a list of codes of
such pieces, and one `take` of Arrow's puts all rows together. A list is a piece as well, put
together from those of its elements in the same way.

The text is what Polars' `write_ndjson` writes: the shortest that reads back as the same number, no
escapes but those that JSON asks for, null for what is not finite.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch.schema.buffers import codes_of

I64 = NDArray[np.int64]
Codes = NDArray[np.integer]

MOST_KEYS = 1 << 62
# Columns side by side become one piece where so many rows have, on average, so many alike.
MERGED_ROWS, MERGED_SHARE = 1_000, 4


class Leaf(NamedTuple):
    """A column, or one within its lists: its values, and which of them stands where."""

    before: str  # each value, in its piece
    values: pa.Array
    code: Codes  # of `values`


class Nest(NamedTuple):
    """A column of lists."""

    before: str
    length: I64  # (n,)
    valid: NDArray[np.bool_]  # (n,)
    leaves: tuple[Leaf, ...]  # fields of the elements; one without a name where they are no structs
    after: str  # each element


class Own(NamedTuple):
    """A column of which nearly every value is another."""

    before: str
    texts: pa.Array


class Run(NamedTuple):
    """Pieces that were added together, and which of them each row has."""

    first: int
    size: int
    code: Codes  # from 0


class Pieces:
    """Pieces of text, by code."""

    def __init__(self) -> None:
        self._texts: list[pa.Array] = []
        self._size = 0

    def add(self, texts: pa.Array) -> int:
        """Return the code of the first of these; the others follow."""
        first, self._size = self._size, self._size + len(texts)
        self._texts.append(texts)
        return first

    def join(self, codes: Sequence[Codes | int], n: int) -> pa.StringArray:
        """Return texts (n,), each of the pieces with these codes: (n,), or one for all."""
        if not n:
            return pa.array([], pa.string())
        index = np.empty((n, len(codes)), np.int32)
        for place, code in enumerate(codes):
            index[:, place] = code
        flat = pa.concat_arrays(self._texts).take(pa.array(index.ravel()))
        _, bounds, data = flat.buffers()
        ends = np.frombuffer(bounds, np.int32)[: index.size + 1 : len(codes)]
        return pa.StringArray.from_buffers(n, pa.py_buffer(np.ascontiguousarray(ends)), data)


def json_lines(table: pa.Table, own: frozenset[str] = frozenset()) -> pa.BinaryArray:
    """Return each row as a JSON object without a newline, (n,): every field, in the table's order.

    Parameters
    ----------
    table
        Columns of text, float64 or timestamps in UTC, or of lists of text or of structs of them;
        each may be an Arrow dictionary, whose codes are then not looked for.
    own
        Columns of text or float64 of which nearly every value is another: it makes no difference
        but to how long this takes.

    Raises
    ------
    pyarrow.ArrowInvalid
        All rows together are 2 GiB or more.
    """
    n = table.num_rows
    if not n:
        return pa.array([], pa.binary())
    parts, last = _parts(table, own)
    leaves = [x for part in parts for x in _leaves(part)]
    pieces = Pieces()
    first = iter(_add_leaves(pieces, leaves))
    codes: list[Codes | int] = []
    alike: list[Run] = []  # columns side by side
    for part in parts:
        match part:
            case Leaf():
                alike.append(Run(next(first), len(part.values), part.code))
            case Nest():
                alike.append(_lists(pieces, part, [next(first) for _ in part.leaves]))
            case Own():
                codes += _merged(pieces, alike, n)
                alike = []
                said = pieces.add(pa.array([part.before]))
                codes += [said, pieces.add(part.texts) + np.arange(n)]
    codes += _merged(pieces, alike, n)
    codes.append(pieces.add(pa.array([last])))
    return pieces.join(codes, n).cast(pa.binary())


def _parts(table: pa.Table, own: frozenset[str]) -> tuple[list[Leaf | Nest | Own], str]:
    """Return the columns as parts of a row, and what ends it."""
    parts: list[Leaf | Nest | Own] = []
    before = "{"
    for name, chunks in zip(table.column_names, table.columns, strict=True):
        column = chunks.combine_chunks()
        if name in own and pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        before += f'"{name}":'
        after = ""
        if pa.types.is_list(column.type):
            parts.append(_nest(before, column))
        elif name in own and pa.types.is_floating(column.type):
            parts.append(Own(before, _numbers(column).fill_null("null")))
        elif name in own and not column.null_count and not _escapes(column):
            parts.append(Own(before + '"', column))
            after = '"'
        else:
            parts.append(_leaf(before, column))
        before = after + ","
    return parts, before.removesuffix(",") + "}"


def _leaf(before: str, column: pa.Array) -> Leaf:
    if _constant(column):
        return Leaf(before, column[:1], np.zeros(len(column), np.int32))
    codes, values = codes_of(column)
    return Leaf(before, values, codes)


def _constant(column: pa.Array) -> bool:
    """Whether all values are the same; of numbers that would say little, 0 being -0."""
    if pa.types.is_dictionary(column.type):
        return False
    if column.null_count or not len(column) or pa.types.is_floating(column.type):
        return len(column) > 0 and column.null_count == len(column)
    first = column[0]
    return first == column[-1] and bool(pc.all(pc.equal(column, first)).as_py())


def _nest(before: str, column: pa.ListArray) -> Nest:
    elements = column.flatten()
    length = column.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    valid = column.is_valid().to_numpy(zero_copy_only=False)
    if not pa.types.is_struct(elements.type):
        return Nest(before, length, valid, (_leaf("", elements),), "")
    names = [field.name for field in elements.type]
    leaves = tuple(
        _leaf(f'{"," if place else "{"}"{name}":', values)
        for place, (name, values) in enumerate(zip(names, elements.flatten(), strict=True))
    )
    return Nest(before, length, valid, leaves, "}")


def _leaves(part: Leaf | Nest | Own) -> tuple[Leaf, ...]:
    match part:
        case Leaf():
            return (part,)
        case Nest():
            return part.leaves
    return ()


def _add_leaves(pieces: Pieces, leaves: list[Leaf]) -> list[int]:
    """Add the values of all, in as few calls of Arrow as possible; return where each begins."""
    texts: dict[str, list[pa.Array]] = {"string": [], "double": [], "timestamp[us, tz=UTC]": []}
    which: dict[str, list[int]] = {kind: [] for kind in texts}
    for at, leaf in enumerate(leaves):
        texts[str(leaf.values.type)].append(leaf.values)
        which[str(leaf.values.type)].append(at)
    said = [
        form(pa.concat_arrays(some))
        for some, form in zip(texts.values(), (_strings, _numbers, _times), strict=True)
        if some
    ]
    order = [at for some in which.values() for at in some]
    sizes = np.array([len(leaves[at].values) for at in order], np.int64)
    before = pa.array([leaves[at].before for at in order])
    of_each = before.take(pa.array(np.repeat(np.arange(sizes.size), sizes)))
    values = pa.concat_arrays(said).fill_null("null")
    begin = pieces.add(pc.binary_join_element_wise(of_each, values, ""))
    first = np.zeros(len(leaves), np.int64)
    first[order] = begin + np.cumsum(sizes) - sizes
    return first.tolist()


def _lists(pieces: Pieces, nest: Nest, first: list[int]) -> Run:
    """Add each distinct list of a column; return the codes of the rows' pieces."""
    element, fields = _distinct(
        [leaf.code for leaf in nest.leaves], [len(leaf.values) for leaf in nest.leaves]
    )
    known = fields[0].size
    after = pieces.add(pa.array([nest.after]))
    begin = pieces.add(pieces.join([*map(np.add, fields, first), after], known))
    start = nest.length.cumsum() - nest.length
    places: list[Codes] = []  # of an element, -1 where a list is shorter
    for place in range(int(nest.length.max())):
        within = place < nest.length
        at = np.full(nest.length.size, -1, np.int64)
        at[within] = element[start[within] + place]
        places.append(at + 1)
    row, (said, *lists) = _distinct(
        [nest.valid.astype(np.int64), *places], [2, *[known + 1] * len(places)]
    )
    marks = [nest.before + "null", nest.before + "[", "", "]", ","]
    null, opened, nothing, closed, comma = pieces.add(pa.array(marks)) + np.arange(len(marks))
    codes: list[Codes | int] = [np.where(said, opened, null)]
    for place, one in enumerate(lists):
        codes += [np.where(one > 0, comma, nothing)] * (place > 0)
        codes.append(np.where(one > 0, begin + one - 1, nothing))
    codes.append(np.where(said, closed, nothing))
    return Run(pieces.add(pieces.join(codes, said.size)), said.size, row)


def _merged(pieces: Pieces, runs: list[Run], n: int) -> list[Codes | int]:
    """Return the codes of the rows' pieces, of one where few combinations stand in many rows."""
    if n >= MERGED_ROWS and len(runs) > 1:
        row, members = _distinct([run.code for run in runs], [run.size for run in runs])
        known = members[0].size
        if known * MERGED_SHARE <= n:
            codes = [run.first + member for run, member in zip(runs, members, strict=True)]
            return [pieces.add(pieces.join(codes, known)) + row]
    return [run.first + run.code for run in runs]


def _distinct(codes: list[Codes], sizes: list[int]) -> tuple[Codes, list[Codes]]:
    """Return which combination of the codes stands where, and the codes of each combination.

    All (n,), below their sizes. Where there may be more combinations than can be counted, each is
    taken for another.
    """
    if len(codes) == 1:
        return codes[0], [np.arange(sizes[0])]
    if math.prod(sizes) >= MOST_KEYS:
        return np.arange(codes[0].size), codes
    key = np.zeros(codes[0].size, np.int64)
    for code, size in zip(codes, sizes, strict=True):
        key = key * size + code
    encoded = pa.array(key).dictionary_encode()
    rest = encoded.dictionary.to_numpy()
    parts: list[Codes] = []
    for size in reversed(sizes):
        rest, part = np.divmod(rest, size)
        parts.append(part)
    return encoded.indices.to_numpy(), parts[::-1]


def _escapes(texts: pa.Array) -> bool:
    """Whether JSON asks for an escape in one of the texts."""
    data = _bytes(texts)
    return bool(((data < ord(" ")) | (data == ord('"')) | (data == ord("\\"))).any())


def _bytes(texts: pa.Array) -> NDArray[np.uint8]:
    """Return the bytes of all texts, one after the other."""
    _, bounds, data = texts.buffers()
    if data is None:
        return np.zeros(0, np.uint8)
    ends = np.frombuffer(bounds, np.int32)
    low, high = ends[texts.offset], ends[texts.offset + len(texts)]
    return np.frombuffer(data, np.uint8)[low:high]


def _strings(texts: pa.Array) -> pa.Array:
    if _escapes(texts):
        said = [None if x is None else msgspec.json.encode(x).decode() for x in texts.to_pylist()]
        return pa.array(said, pa.string())
    return pc.binary_join_element_wise('"', texts, '"', "")


def _numbers(numbers: pa.Array) -> pa.Array:
    """Return the shortest text that reads back as each number, null where it is not finite."""
    said = pl.Series(numbers).cast(pl.String).to_arrow().cast(pa.string())
    finite = pc.is_finite(numbers)
    return said if pc.all(finite).as_py() else pc.if_else(finite, said, None)


def _times(times: pa.Array) -> pa.Array:
    """Return RFC 3339 of each time, with as many digits behind the point as say it: 0, 3 or 6."""
    said = np.datetime_as_string(times.fill_null(0).to_numpy(), unit="us").tolist()
    short = [x.removesuffix("000").removesuffix("000").removesuffix(".") for x in said]
    return pa.array([f'"{x}Z"' for x in short], pa.string(), mask=~times.is_valid().to_numpy(False))
