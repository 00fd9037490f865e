"""The sample of recent requests that reserve prices are solved from.

It is part of the router's state, yet not of its snapshots: those name the offsets that it came
from, and a successor reads the requests again.

Requests are added piece by piece. When they are needed or grow too many, the pieces are cut down to
the latest requests, by whoever asks for those first: a worker does so beside its batches, and none
of them waits.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Lock

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aurora_batch.schema import REQUEST_SCHEMA, microseconds_of

I64 = NDArray[np.int64]

# What a sample may lie in beside what is cut: so many tables, of so many times its requests. A cut
# of 50,000 takes 4 ms, one of 120,000 takes 6.
PIECES, HELD = 64, 4

SAMPLED = (
    "request_id", "requested_at", "tenant_id", "gpu_type", "region", "gpu_hours", "max_price",
    "max_latency_ms", "min_reputation", "weights", "priority",
)  # fmt: skip
ORIGIN = "origin"  # an optional column of requests: partition and offset of their records
OFFSETS = 1 << 48  # an origin is partition x OFFSETS + offset
_SCHEMA = pa.schema([*map(REQUEST_SCHEMA.field, SAMPLED), pa.field(ORIGIN, pa.int64())])


Spans = Mapping[int, tuple[int, int]]  # first and last offset, by partition


class Cut:
    """The latest requests of a sample, found once; any thread may ask."""

    def __init__(self, sample: "Sample") -> None:
        self._lock = Lock()
        self._of: Sample | None = sample
        self._found: tuple[pa.Table, Spans] = (_SCHEMA.empty_table(), {})

    def found(self) -> "tuple[pa.Table, Spans]":
        """Return them, and where they are from; waits where another thread finds them."""
        with self._lock:
            if self._of is not None:
                table = self._of.table()
                self._found, self._of = (table, _spans(table)), None
            return self._found


@dataclass(frozen=True, eq=False)
class Sample:
    """The latest `most` requests by event time, and then by id; never changed in place.

    Of those with one id only the first is in it, by its origin: within a micro-batch the others are
    rejected, and whoever reads the requests again does not know which were in one micro-batch.

    That is a set of requests and an order that do not depend on how they were cut into batches, so
    whoever reads the same requests again, in whatever pieces, has the same sample.
    """

    most: int
    pieces: tuple[pa.Table, ...] = ()
    spans: Spans = field(default_factory=dict)  # of the pieces
    cut: Cut | None = None  # what came before them
    cut_from: Spans = field(default_factory=dict)  # where that is from, or more

    def add(self, requests: pa.Table) -> "Sample":
        """Return the latest of these and those."""
        if ORIGIN not in requests.column_names:
            none = pa.nulls(requests.num_rows, pa.int64())
            requests = requests.append_column(_SCHEMA.field(ORIGIN), none)
        piece = requests.select(_SCHEMA.names)
        spans = _wider(self.spans, _spans(piece))
        more = Sample(self.most, (*self.pieces, piece), spans, self.cut, self.cut_from)
        rows = sum(p.num_rows for p in more.pieces)
        return more if len(more.pieces) <= PIECES and rows <= HELD * self.most else more.gathered()

    def gathered(self) -> "Sample":
        """Return the same, to be cut: found once for all who need it."""
        if not self.pieces:
            return self
        # Where it is from is known of what was cut the last time: that was found long since.
        before: Spans = {} if self.cut is None else self.cut.found()[1]
        return Sample(self.most, cut=Cut(self), cut_from=_wider(before, self.spans))

    @property
    def rows(self) -> int:
        """How many there are, or more: before those are left out that come twice or are too old."""
        before = () if self.cut is None else (self.cut.found()[0],)
        return sum(len(table) for table in (*before, *self.pieces))

    def table(self) -> pa.Table:
        """Return them as one table, in order."""
        before = () if self.cut is None else (self.cut.found()[0],)
        if before and not self.pieces:
            return before[0]
        whole = _once_each(pa.concat_tables([_SCHEMA.empty_table(), *before, *self.pieces]))
        first = max(whole.num_rows - self.most, 0)
        order = _by_time(whole, first)
        if order is not None:
            whole, first = whole.take(pa.array(order[first:])), 0
        return whole.slice(first).combine_chunks()

    def origins(self) -> dict[int, tuple[int, int]]:
        """Return offsets of each partition between which, both included, all of it is."""
        return dict(sorted(_wider(self.cut_from, self.spans).items()))


def _spans(requests: pa.Table) -> Spans:
    """Return the first and the last offset of each partition that requests come from."""
    origin = requests[ORIGIN].drop_null().to_numpy()
    partition = origin // OFFSETS
    offset = origin - partition * OFFSETS
    partitions = int(partition.max(initial=-1)) + 1
    first, last = np.full(partitions, OFFSETS), np.zeros(partitions, np.int64)
    np.minimum.at(first, partition, offset)
    np.maximum.at(last, partition, offset)
    known = np.flatnonzero(first < OFFSETS).tolist()
    return {p: (int(first[p]), int(last[p])) for p in known}


def _wider(one: Spans, other: Spans) -> dict[int, tuple[int, int]]:
    both = dict(one)
    for partition, (first, last) in other.items():
        low, high = both.get(partition, (first, last))
        both[partition] = min(low, first), max(high, last)
    return both


def _once_each(requests: pa.Table) -> pa.Table:
    """Return requests, the first by origin of those with one id."""
    ids = requests["request_id"].combine_chunks()
    if pl.Series(ids).n_unique() == requests.num_rows:  # a quarter of the time
        return requests
    whole = requests.combine_chunks()
    code = pc.dictionary_encode(ids).indices.to_numpy()
    origin = whole[ORIGIN].fill_null(0).to_numpy()
    order = np.argsort(origin, kind="stable")
    _, first = np.unique(code[order], return_index=True)
    return whole.take(pa.array(np.sort(order[first])))


def _by_time(requests: pa.Table, first: int) -> I64 | None:
    """Return the order by time and then id from place `first` on, None where they have it already.

    What comes before that is in any order. Ids are compared only where times are the same.
    """
    times = microseconds_of(requests["requested_at"])
    if bool((times[1:] > times[:-1]).all()):
        return None
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    low = int(np.searchsorted(ordered, ordered[min(first, ordered.size - 1)]))
    same = np.diff(ordered[low:]) == 0
    if same.any():
        tied = low + np.flatnonzero(np.append(same, False) | np.insert(same, 0, False))
        some = requests.select(["requested_at", "request_id"]).take(pa.array(order[tied]))
        by = [("requested_at", "ascending"), ("request_id", "ascending")]
        order[tied] = order[tied][pc.sort_indices(some, by).to_numpy()]
    return None if bool((np.diff(order) > 0).all()) else order
