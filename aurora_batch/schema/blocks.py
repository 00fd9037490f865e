"""What every reader makes: columns of the types of requests, not yet checked, and where from."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch.model import Fault
from aurora_batch.schema.columns import REQUEST_SCHEMA, Rejection
from aurora_batch.schema.rules import Columns
from aurora_batch.schema.times import Faults

MAX_UNKNOWN_NAMES = 64  # whoever sends random field names must not grow a metric without end
OTHER_NAMES = "(other)"


@dataclass(frozen=True)
class Block:
    """n rows as read: one column a request field, null where nothing was said."""

    columns: Columns  # types of REQUEST_SCHEMA; gpu_type any-of joined by "|"
    index: NDArray[np.int64]  # (n,) record or table row
    row: NDArray[np.int64]  # (n,) row within an Arrow payload, -1 where the record is one request
    faults: Faults = field(default_factory=dict)  # found while reading
    payloads: dict[int, bytes | None] = field(default_factory=dict)  # by index, of which to learn
    plain: bool = False  # every value keeps its rule, and weights of nothing are null


class Unreadable(Exception):
    """A whole payload or table is no request."""

    def __init__(self, fault: Fault, detail: str, request_id: str | None = None) -> None:
        super().__init__(detail)
        self.fault, self.detail, self.request_id = fault, detail, request_id

    def at(self, index: int) -> Rejection:
        """Return the rejection of the record at `index`."""
        return Rejection(index, None, self.fault, self.detail, self.request_id)


def empty_block() -> Block:
    """Return a block without rows."""
    none = np.zeros(0, np.int64)
    return Block({f.name: pa.nulls(0, f.type) for f in REQUEST_SCHEMA}, none, none)


def joined(blocks: list[Block]) -> Block:
    """Return one block of all rows, ascending by index; of blocks whose faults are taken out."""
    blocks = [b for b in blocks if len(b.index)] or [empty_block()]
    if len(blocks) == 1:
        return blocks[0]
    index = np.concatenate([b.index for b in blocks])
    row = np.concatenate([b.row for b in blocks])
    columns = {
        f.name: pa.concat_arrays([b.columns[f.name] for b in blocks]) for f in REQUEST_SCHEMA
    }
    if bool((index[1:] >= index[:-1]).all()):
        return Block(columns, index, row)
    order = np.argsort(index, kind="stable")
    at = pa.array(order)
    columns = {name: column.take(at) for name, column in columns.items()}
    return Block(columns, index[order], row[order])


def count_unknown(unknown: Counter[str], names: Iterable[str], times: int = 1) -> None:
    """Count ignored fields by name; a bounded number of names, of bounded length."""
    for name in names:
        known = name in unknown or (len(unknown) < MAX_UNKNOWN_NAMES and len(name) <= 64)
        unknown[name if known and name.isprintable() else OTHER_NAMES] += times
