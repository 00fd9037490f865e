"""Rows put together 16 bytes at a time are those that are joined piece by piece."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kernels.json_lines import (
    AFTER,
    BEFORE,
    CODES,
    COUNT,
    FIRST,
    LEAF,
    LOW,
    NOTHING,
    NULL,
    OPEN,
    QUOTED,
    SPANS,
    SPARE,
    STEP,
    row_ends,
    write_rows,
)

# Lengths about those of a block, where copying one too many or too few would show.
PIECES = st.binary(max_size=3) | st.integers(0, 4 * SPARE).map(lambda n: b"x" * n)


@dataclass(frozen=True)
class Field:
    """A leaf: the piece before a value, the one of null, whether in quotes, values, codes."""

    before: bytes
    null: bytes
    quoted: bool
    values: list[bytes]
    codes: list[int] | None  # None: each place has its own

    def said(self, place: int) -> bytes:
        """What stands at a place."""
        code = place if self.codes is None else self.codes[place]
        if code < 0:
            return self.null
        quote = b'"' * self.quoted
        return self.before + quote + self.values[code] + quote


@dataclass(frozen=True)
class Column:
    """A leaf, or of lists their lengths, the pieces about them, and several."""

    fields: list[Field]
    lengths: list[int] | None = None
    opened: bytes = b""
    nothing: bytes = b""
    after: bytes = b""

    def said(self, row: int) -> bytes:
        """What stands in a row."""
        if self.lengths is None:
            return self.fields[0].said(row)
        if self.lengths[row] < 0:
            return self.nothing
        start = sum(max(length, 0) for length in self.lengths[:row])
        elements = (
            b"".join(field.said(start + i) for field in self.fields) + self.after
            for i in range(self.lengths[row])
        )
        return self.opened + b",".join(elements) + b"]"


def naive(columns: list[Column], n: int) -> list[bytes]:
    """The rows, joined piece by piece."""
    return [b"".join(column.said(row) for column in columns) + b"}" for row in range(n)]


def by_kernel(columns: list[Column], n: int) -> list[bytes]:
    """The rows that the kernel writes; what is behind them stays as it was."""
    pieces: list[bytes] = []
    codes: list[int] = []
    spans: list[int] = []
    leaves, steps = [], []
    for column in columns:
        step = [0] * STEP
        step[LOW], step[COUNT], step[SPANS] = len(leaves), len(column.fields), -1
        for field in column.fields:
            leaf = [0] * LEAF
            leaf[BEFORE], leaf[NULL], leaf[FIRST] = (len(pieces) + i for i in range(3))
            leaf[QUOTED], leaf[CODES] = int(field.quoted), -1
            pieces += [field.before, field.null, *field.values]
            if field.codes is not None:
                leaf[CODES] = len(codes)
                codes += field.codes
            leaves.append(leaf)
        if column.lengths is not None:
            taken = np.maximum(column.lengths, 0)
            step[SPANS] = len(spans)
            spans += [*(np.cumsum(taken) - taken).tolist(), *column.lengths]
            step[OPEN], step[NOTHING], step[AFTER] = (len(pieces) + i for i in range(3))
            pieces += [column.opened, column.nothing, column.after]
        steps.append(step)
    expected = naive(columns, n)
    total = sum(map(len, expected))
    out = np.full(total + 2 * SPARE, 7, np.uint8)
    data = np.frombuffer(b"".join(pieces) + b"." * SPARE, np.uint8)
    data.flags.writeable = False
    plan = (
        np.cumsum([0, *map(len, pieces)]), np.array(leaves, np.int64).reshape(-1, LEAF),
        np.array(steps, np.int64).reshape(-1, STEP), np.array(codes, np.int32),
        np.array(spans, np.int64),
    )  # fmt: skip
    ends = row_ends(*plan, n)
    write_rows(data, *plan, ends, out)
    assert (out[total + SPARE :] == 7).all()
    return [out[a:b].tobytes() for a, b in pairwise(ends.tolist())]


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[Column], int]:
    """Draw some columns of n rows."""
    n = draw(st.integers(0, 4))

    def field(places: int) -> Field:
        if draw(st.booleans()):
            own = draw(st.lists(PIECES, min_size=places, max_size=places))
            return Field(draw(PIECES), draw(PIECES), draw(st.booleans()), own, None)
        values = draw(st.lists(PIECES, max_size=3))
        code = st.integers(-1, len(values) - 1)
        codes = draw(st.lists(code, min_size=places, max_size=places))
        return Field(draw(PIECES), draw(PIECES), draw(st.booleans()), values, codes)

    def column() -> Column:
        if draw(st.booleans()):
            return Column([field(n)])
        lengths = draw(st.lists(st.integers(-1, 3), min_size=n, max_size=n))
        elements = sum(max(length, 0) for length in lengths)
        fields = [field(elements) for _ in range(draw(st.integers(1, 3)))]
        return Column(fields, lengths, draw(PIECES), draw(PIECES), draw(PIECES))

    return [column() for _ in range(draw(st.integers(0, 4)))], n


@settings(deadline=None)  # it compiles
@given(tables())
@example(([], 2))
@example(([Column([Field(b"", b"null", True, [], [-1] * 3)])], 3))
@example(([Column([Field(b"k:", b"", False, [b"y" * 100_000], [0] * 50)])], 50))
def test_rows_are_their_pieces(drawn: tuple[list[Column], int]) -> None:
    """Empty, null, long; texts and lists, one field or several; nothing is written behind them."""
    columns, n = drawn
    assert by_kernel(columns, n) == naive(columns, n)
