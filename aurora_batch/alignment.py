"""Partitions merged by time, so that in a backlog none runs ahead of the others.

Partitions are read at different speeds. Without care, a worker that comes back after an outage
would see the requests of the next window in one partition before those of this window in another,
and decide the latter late.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aurora_batch.progress import size_of
from aurora_batch.schema import Records

_NEVER = np.iinfo(np.int64).min
_ALWAYS = np.iinfo(np.int64).max
_NONE = np.zeros(0, np.int64)


@dataclass(frozen=True, eq=False)
class Merged:
    """n records of several partitions in one order, in which each partition keeps its own."""

    parts: tuple[Records, ...]  # each of one partition; of the same one, in their order
    turn: NDArray[np.int64]  # (n,) which part each record is of

    @classmethod
    def of(cls, records: Records) -> "Merged":
        """Return records in the order in which they are, which is that of their partitions."""
        partitions, turn = np.unique(records.partition, return_inverse=True)
        parts = tuple(records.take(np.flatnonzero(turn == i)) for i in range(len(partitions)))
        return cls(parts, turn)

    def __len__(self) -> int:
        return len(self.turn)

    def in_turn(self) -> Records:
        """Return the records in their order, copied."""
        return Records.joined(self.parts).take(np.argsort(np.argsort(self.turn, kind="stable")))

    def sizes(self) -> NDArray[np.int64]:
        """Return the bytes of each value, in their order, shape (n,)."""
        sizes = np.zeros(len(self.turn), np.int64)
        for i, part in enumerate(self.parts):
            sizes[self.turn == i] = part.sizes()
        return sizes


@dataclass
class _Lane:
    """What is held of one partition."""

    pieces: list[Records] = field(default_factory=list)
    reached: NDArray[np.int64] = field(default_factory=_NONE.copy)  # largest timestamp up to each
    latest: int = _NEVER  # largest timestamp of all records so far: the partition's clock
    bytes: int = 0  # of what is held

    def take(self, count: int) -> list[Records]:
        """Take the first records out, in pieces: the thread that polls copies nothing."""
        taken = []
        left = count
        while left:
            piece = self.pieces[0]
            taken.append(piece[:left])
            left -= len(taken[-1])
            self.pieces[:1] = [piece[len(taken[-1]) :]] if len(taken[-1]) < len(piece) else []
        self.reached = self.reached[count:]
        self.bytes -= sum(map(size_of, taken))
        return taken


class Alignment:
    """Holds records back until no partition can still bring older ones.

    A partition's time is the largest timestamp that it has brought so far; of equal times that of
    the lower partition comes first. Records are released up to the time of the partition that is
    furthest behind, which thus never has to wait itself; one that has nothing more to bring is not
    waited for. Records of a partition keep their order.
    """

    def __init__(self, partitions: Iterable[int]) -> None:
        self._lanes = {p: _Lane() for p in sorted(partitions)}

    def add(self, partition: int, records: Records) -> None:
        """Take the next records of a partition in."""
        if not records:
            return
        lane = self._lanes[partition]
        reached = np.maximum(np.maximum.accumulate(records.timestamp_us), lane.latest)
        lane.pieces.append(records)
        lane.bytes += size_of(records)
        lane.reached = np.concatenate([lane.reached, reached])
        lane.latest = int(reached[-1])

    def release(self, ended: Collection[int]) -> Merged:
        """Return, in the order of time, what need not wait for any partition but the `ended`."""
        awaited = sorted((lane.latest, p) for p, lane in self._lanes.items() if p not in ended)
        parts: list[Records] = []
        times: list[NDArray[np.int64]] = []
        for partition, lane in self._lanes.items():
            cut = _cut(partition, lane, awaited)
            if cut:
                times.append(lane.reached[:cut])
                parts += lane.take(cut)
        if not parts:
            return Merged((), _NONE)
        part = np.repeat(np.arange(len(parts)), list(map(len, parts)))
        return Merged(tuple(parts), part[np.argsort(np.concatenate(times), kind="stable")])

    def first_held(self, partition: int) -> int | None:
        """Return the offset of the first record of a partition that waits, None if none does."""
        pieces = self._lanes[partition].pieces
        return int(pieces[0].offset[0]) if pieces else None

    def held_bytes(self, partition: int) -> int:
        """Return about how many bytes of a partition wait."""
        return self._lanes[partition].bytes

    @property
    def waiting(self) -> bool:
        """Whether any record waits."""
        return any(lane.pieces for lane in self._lanes.values())


def _cut(partition: int, lane: _Lane, awaited: Sequence[tuple[int, int]]) -> int:
    """Return how many records of a lane need not wait for those that are awaited, ascending."""
    until, behind = next((a for a in awaited if a[1] != partition), (_ALWAYS, partition))
    # What another partition brings later may be of the very time that it has reached.
    side: Literal["left", "right"] = "right" if partition <= behind else "left"
    return int(np.searchsorted(lane.reached, until, side=side))
