"""Checks of arguments: each failure names the argument, what was expected and what came."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray


def array(
    name: str, value: ArrayLike, shape: tuple[int, ...] | list[tuple[int, ...]], dtype: DTypeLike
) -> NDArray[Any]:
    """Return `value` as a contiguous array of one of the shapes given.

    Raises `ValueError` for another shape, or where the conversion would change a number.
    """
    given = np.asarray(value)
    shapes = shape if isinstance(shape, list) else [shape]
    if given.shape not in shapes:
        expected = " or ".join(str(s) for s in shapes)
        raise ValueError(f"Expected {name} of shape {expected}, got {given.shape}.")
    kinds = "iu" if np.issubdtype(dtype, np.integer) else "b" if dtype is np.bool_ else "fiu"
    if given.size and given.dtype.kind not in kinds:
        raise ValueError(f"Expected {name} of a {np.dtype(dtype)} kind, got {given.dtype}.")
    return np.ascontiguousarray(given, dtype)


def in_range(name: str, values: NDArray[Any], low: int, high: int) -> None:
    """Raise `ValueError` unless low <= values < high."""
    if values.size and (values.min() < low or values.max() >= high):
        bad = values[(values < low) | (values >= high)].flat[0]
        raise ValueError(f"Expected {low} <= {name} < {high}, got {bad}.")


def finite(name: str, values: NDArray[np.float64]) -> None:
    """Raise `ValueError` for NaN or infinity."""
    if not np.isfinite(values).all():
        bad = values[~np.isfinite(values)].flat[0]
        raise ValueError(f"Expected finite {name}, got {bad}.")


def at_least_zero(name: str, values: NDArray[np.float64]) -> None:
    """Raise `ValueError` for negative numbers and NaN; infinity is no limit."""
    if values.size and not values.min() >= 0:  # NaN compares false
        bad = values[~(values >= 0)].flat[0]
        raise ValueError(f"Expected {name} >= 0, got {bad}.")


def positive(name: str, values: NDArray[np.float64]) -> None:
    """Raise `ValueError` unless all are finite and > 0."""
    if values.size and not (values.min() > 0 and values.max() < np.inf):
        bad = values[~((values > 0) & (values < np.inf))].flat[0]
        raise ValueError(f"Expected finite {name} > 0, got {bad}.")
