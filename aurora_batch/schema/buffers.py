"""What Arrow's columns are made of: bytes as arrays for kernels, or few values and their codes."""

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


def codes_of(column: pa.Array) -> tuple[NDArray[np.int32], pa.Array]:
    """Return which value stands where, (n,), -1 for null, and the values.

    Those of an Arrow dictionary may stand twice, or for nobody; one longer than n is made anew.
    """
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    elif len(column.dictionary) > len(column):
        column = column.dictionary_decode().dictionary_encode()
    indices, values = column.indices, column.dictionary
    if indices.null_count:
        indices = indices.cast(pa.int32()).fill_null(-1)
    codes = indices.to_numpy().astype(np.int32, copy=False)
    if values.null_count:
        none = values.is_null().to_numpy(zero_copy_only=False)
        codes = np.where((codes >= 0) & ~none[codes], codes, np.int32(-1))
    return codes, values


def _octets(data: pa.Buffer | None) -> NDArray[np.uint8]:
    octets = np.frombuffer(data if data is not None and data.size else b"", np.uint8)
    octets.flags.writeable = False  # some are not: a kernel is compiled for one kind
    return octets
