"""What Arrow's columns are made of: bytes as arrays for kernels."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def buffers_of(
    values: pa.Array,
) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.bool_]]:
    """Return all bytes (not copied, read-only), the bounds of each value, and which exist.

    Value i of n is from `bounds[i]` to `bounds[i + 1]`; bounds is (n + 1,), the flags are (n,).
    """
    n, start = len(values), values.offset
    if values.null_count == n:
        return _octets(None), np.zeros(n + 1, np.int64), np.zeros(n, np.bool_)
    _, bounds, data = values.buffers()
    wide = pa.types.is_large_binary(values.type) or pa.types.is_large_string(values.type)
    found = np.frombuffer(bounds, np.int64 if wide else np.int32)[start : start + n + 1]
    valid = np.ones(n, np.bool_)
    if values.null_count:
        valid = values.is_valid().to_numpy(zero_copy_only=False)
    return _octets(data), found.astype(np.int64), valid


def whole(column: pa.ChunkedArray) -> pa.Array:
    """Return a column in one piece, copied where it is in several."""
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _octets(data: pa.Buffer | None) -> NDArray[np.uint8]:
    octets = np.frombuffer(data if data is not None and data.size else b"", np.uint8)
    octets.flags.writeable = False  # some are not: a kernel is compiled for one kind
    return octets
