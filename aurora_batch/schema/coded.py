"""Decisions as they are made: of what few offers, pools and phrases say, which of them it is.

A batch says the same few texts thousands of times. They stay codes until somebody needs a table:
JSON is written from the codes, and metrics count by them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch.schema.buffers import whole
from aurora_batch.schema.columns import DECISION_SCHEMA

I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Choices:
    """What columns side by side say together, by one code; whoever keeps it keeps its text too.

    Attributes
    ----------
    columns
        By name, in the order in which they stand: values, as many of each, none of them null.
    """

    columns: Mapping[str, pa.Array]
    made: dict[str, pa.Array] = field(default_factory=dict)  # of the text, by whoever writes it

    def at(self, codes: I32) -> "dict[str, Codes]":
        """Return each column as codes, below zero: null in all of them."""
        return {name: Codes(codes, values, self) for name, values in self.columns.items()}


class Codes(NamedTuple):
    """A column of few values: which of them each row has."""

    codes: I32  # (n,), below zero: null
    values: pa.Array  # some may stand twice, or for nobody; none is null
    choices: Choices | None = None  # it is one of the columns of these, all by the same codes


Flat = Codes | Any  # an Arrow array where nearly every value is another


class Lists(NamedTuple):
    """A column of lists."""

    length: I64  # (n,), below zero: null
    fields: Mapping[str, Flat]  # of all elements; one without a name where they are values


Column = Flat | Lists
Columns = Mapping[str, Column]


def codes_of(column: Flat) -> Codes:
    """Return a column as codes; of an Arrow array they are looked for."""
    if isinstance(column, Codes):
        return column
    encoded = column.dictionary_encode()
    indices = encoded.indices.fill_null(-1) if encoded.indices.null_count else encoded.indices
    return Codes(indices.to_numpy(), encoded.dictionary)


def columns_of(table: pa.Table) -> Columns:
    """Return the columns of a table, as they are."""
    return dict(zip(table.column_names, map(_column_of, table.columns), strict=True))


def _column_of(chunks: pa.ChunkedArray) -> Column:
    column = whole(chunks)
    if not pa.types.is_list(column.type):
        return column
    length = np.diff(column.offsets.to_numpy()).astype(np.int64)
    if column.null_count:
        length[column.is_null().to_numpy(zero_copy_only=False)] = -1  # whatever the offsets say
    elements = column.flatten()
    if not pa.types.is_struct(elements.type):
        return Lists(length, {"": elements})
    names = [part.name for part in elements.type]
    return Lists(length, dict(zip(names, elements.flatten(), strict=True)))


@dataclass(frozen=True, eq=False)
class Decisions:
    """n decisions, by the fields of `DECISION_SCHEMA`, in their order."""

    columns: Columns

    @classmethod
    def of(cls, table: pa.Table) -> "Decisions":
        """Return those of a table."""
        return cls(columns_of(table))

    @property
    def num_rows(self) -> int:
        """How many there are."""
        return len(self.columns["request_id"])

    def to_table(self) -> pa.Table:
        """Return the same as texts and numbers (`DECISION_SCHEMA`), made anew."""
        return pa.table(list(map(self.column, DECISION_SCHEMA.names)), schema=DECISION_SCHEMA)

    def column(self, name: str) -> pa.Array:
        """Return one field of it."""
        return _array(self.columns[name], DECISION_SCHEMA.field(name).type)


def _array(column: Column, kind: pa.DataType) -> pa.Array:
    """Return a column as an Arrow array."""
    if isinstance(column, Codes):
        return _picked(column)
    if not isinstance(column, Lists):
        return column
    parts = {name: _array(part, None) for name, part in column.fields.items()}
    elements = parts.get("")
    if elements is None:
        elements = pa.StructArray.from_arrays(list(parts.values()), fields=list(kind.value_type))
    offsets = np.zeros(len(column.length) + 1, np.int32)
    np.cumsum(np.maximum(column.length, 0), out=offsets[1:])
    absent = column.length < 0
    mask = pa.array(absent) if absent.any() else None
    return pa.ListArray.from_arrays(pa.array(offsets), elements, mask=mask)


def _picked(column: Codes) -> pa.Array:
    if not len(column.values):
        return pa.nulls(len(column.codes), column.values.type)
    absent = column.codes < 0
    return pc.take(column.values, pa.array(column.codes, mask=absent if absent.any() else None))
