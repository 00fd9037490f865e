"""Rows as JSON objects, put together from pieces of text: a plan of columns, and codes of pieces.

Nothing is escaped or formatted here: a piece is copied as it is, 16 bytes at a time, which is what
nearly every one of them takes. So what is read from, and what is written to, has `SPARE` bytes more
than are used.

Conventions: n rows. Piece p is `data[bounds[p]:bounds[p + 1]]`. A leaf is a column, or a field of
the elements of a list. Codes below zero say null.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

SPARE = 16

# Columns of `leaves`: pieces before a value and in place of it and what stands before it; whether
# it is put in quotes; the piece of code 0; where its codes begin in `codes` (-1: each element has
# a piece of its own, code by code).
BEFORE, NULL, QUOTED, FIRST, CODES = range(5)
LEAF = 5
# Columns of `steps`: the first leaf and how many follow each other; of lists, where their starts
# and lengths begin in `spans` (-1: no lists), and the pieces before them, in place of them and what
# stands before them, and behind each element.
LOW, COUNT, SPANS, OPEN, NOTHING, AFTER = range(6)
STEP = 6

_QUOTE, _COMMA, _CLOSE, _END = (np.uint8(ord(x)) for x in '",]}')


@intrinsic
def _move(typing: Any, out: Any, at: Any, data: Any, low: Any) -> Any:
    """Copy data[low:low + 16] to out[at:at + 16], whatever lies there."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.VectorType(ir.IntType(8), SPARE)
        places = []
        for array, index, of in ((2, 3, signature.args[2]), (0, 1, signature.args[0])):
            start = context.make_array(of)(context, builder, args[array]).data
            octet = builder.gep(start, [args[index]])
            places.append(builder.bitcast(octet, ir.PointerType(kind)))
        block = builder.load(places[0], align=1)
        builder.store(block, places[1], align=1)
        return context.get_dummy_value()

    return types.none(out, types.intp, data, types.intp), generate


@njit(cache=True, inline="always", error_model="numpy")
def _put(out, at, data, bounds, piece):  # type: ignore[no-untyped-def]
    """Write a piece; return where the next thing goes."""
    low, size = bounds[piece], bounds[piece + 1] - bounds[piece]
    for done in range(0, size, SPARE):
        _move(out, at + done, data, low + done)  # type: ignore[call-arg]
    return at + size


@njit(cache=True, inline="always", error_model="numpy")
def _size(bounds, piece):  # type: ignore[no-untyped-def]
    return bounds[piece + 1] - bounds[piece]


@njit(cache=True, inline="always", error_model="numpy")
def _code(leaves, leaf, codes, element):  # type: ignore[no-untyped-def]
    first = leaves[leaf, CODES]
    return np.int64(codes[first + element]) if first >= 0 else np.int64(element)


@njit(cache=True, nogil=True, error_model="numpy")
def row_ends(bounds: I64, leaves: I64, steps: I64, codes: I32, spans: I64, n: int) -> I64:
    """Return where each row ends, (n + 1,), beginning with 0; arguments as of `write_rows`."""
    ends = np.zeros(n + 1, np.int64)
    for row in range(n):
        size = 1
        for step in range(steps.shape[0]):
            listed = steps[step, SPANS]
            first, length = row, 1
            if listed >= 0:
                first, length = spans[listed + row], spans[listed + n + row]
                size += _size(bounds, steps[step, NOTHING] if length < 0 else steps[step, OPEN])
                size += length >= 0
                length = max(length, 0)
                size += max(length - 1, 0) + length * _size(bounds, steps[step, AFTER])
            for leaf in range(steps[step, LOW], steps[step, LOW] + steps[step, COUNT]):
                for element in range(first, first + length):
                    code = _code(leaves, leaf, codes, element)
                    if code < 0:
                        size += _size(bounds, leaves[leaf, NULL])
                    else:
                        size += _size(bounds, leaves[leaf, BEFORE]) + 2 * leaves[leaf, QUOTED]
                        size += _size(bounds, leaves[leaf, FIRST] + code)
        ends[row + 1] = ends[row] + size
    return ends


@njit(cache=True, nogil=True, error_model="numpy")
def write_rows(
    data: U8, bounds: I64, leaves: I64, steps: I64, codes: I32, spans: I64, ends: I64, out: U8
) -> None:
    """Write rows one behind the other.

    Parameters
    ----------
    data, bounds
        The pieces, and `SPARE` bytes.
    leaves, steps
        (leaves, `LEAF`) and (steps, `STEP`), in the order of the row.
    codes
        Of each leaf (n,), or one for each element of the lists.
    spans
        Of each column of lists: where each begins among the elements, (n,), and its length, (n,),
        -1 for null.
    ends
        What `row_ends` returned, (n + 1,).
    out
        ends[n] bytes, and `SPARE` more. **Modified in place.**
    """
    n = ends.size - 1
    at = ends[0]
    for row in range(n):
        for step in range(steps.shape[0]):
            low, high = steps[step, LOW], steps[step, LOW] + steps[step, COUNT]
            listed = steps[step, SPANS]
            first, length = row, 1
            if listed >= 0:
                first, length = spans[listed + row], spans[listed + n + row]
                opened = steps[step, NOTHING] if length < 0 else steps[step, OPEN]
                at = _put(out, at, data, bounds, opened)
            for element in range(first, first + length):
                if element > first:
                    out[at] = _COMMA
                    at += 1
                for leaf in range(low, high):
                    code = _code(leaves, leaf, codes, element)
                    if code < 0:
                        at = _put(out, at, data, bounds, leaves[leaf, NULL])
                        continue
                    at = _put(out, at, data, bounds, leaves[leaf, BEFORE])
                    out[at] = _QUOTE
                    at += leaves[leaf, QUOTED]
                    at = _put(out, at, data, bounds, leaves[leaf, FIRST] + code)
                    out[at] = _QUOTE
                    at += leaves[leaf, QUOTED]
                if listed >= 0:
                    at = _put(out, at, data, bounds, steps[step, AFTER])
            if listed >= 0 and length >= 0:
                out[at] = _CLOSE
                at += 1
        out[at] = _END
        at += 1
