"""Partitions merged by time, so that in a backlog none runs ahead of the others.

Partitions are read at different speeds. Without care, a worker that comes back after an outage
would see the requests of the next window in one partition before those of this window in another,
and decide the latter late.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aurora_batch.progress import size_of
from aurora_batch.schema import Record

_NEVER = np.iinfo(np.int64).min
_ALWAYS = np.iinfo(np.int64).max


@dataclass
class _Lane:
    """What is held of one partition."""

    records: list[Record]
    reached: NDArray[np.int64]  # largest timestamp up to each record; a partition's clock
    latest: int = _NEVER  # largest timestamp of all records so far
    bytes: int = 0  # of what is held


class Alignment:
    """Holds records back until no partition can still bring older ones.

    A partition's time is the largest timestamp that it has brought so far; of equal times that of
    the lower partition comes first. Records are released up to the time of the partition that is
    furthest behind, which thus never has to wait itself; one that has nothing more to bring is not
    waited for. Records of a partition keep their order.
    """

    def __init__(self, partitions: Iterable[int]) -> None:
        self._lanes = {p: _Lane([], np.zeros(0, np.int64)) for p in partitions}

    def add(self, partition: int, records: list[Record]) -> None:
        """Take the next records of a partition in."""
        lane = self._lanes[partition]
        times = np.fromiter((r.timestamp_us for r in records), np.int64, len(records))
        reached = np.maximum(np.maximum.accumulate(times), lane.latest)
        lane.records = lane.records + records
        lane.bytes += size_of(records)
        lane.reached = np.concatenate([lane.reached, reached])
        lane.latest = int(reached[-1]) if reached.size else lane.latest

    def release(self, ended: Collection[int]) -> list[Record]:
        """Return, in the order of time, what need not wait for any partition but the `ended`."""
        awaited = sorted((lane.latest, p) for p, lane in self._lanes.items() if p not in ended)
        records: list[Record] = []
        times = []
        for partition, lane in self._lanes.items():
            until, behind = next((a for a in awaited if a[1] != partition), (_ALWAYS, partition))
            # What another partition brings later may be of the very time that it has reached.
            side: Literal["left", "right"] = "right" if partition <= behind else "left"
            cut = int(np.searchsorted(lane.reached, until, side=side))
            released = lane.records[:cut]
            records += released
            lane.bytes -= size_of(released)
            times.append(lane.reached[:cut])
            lane.records, lane.reached = lane.records[cut:], lane.reached[cut:]
        order = np.argsort(np.concatenate(times), kind="stable")
        return [records[i] for i in order.tolist()]

    def held(self, partition: int) -> list[Record]:
        """Return the records of a partition that wait."""
        return self._lanes[partition].records

    def held_bytes(self, partition: int) -> int:
        """Return about how many bytes they take."""
        return self._lanes[partition].bytes

    @property
    def waiting(self) -> bool:
        """Whether any record waits."""
        return any(lane.records for lane in self._lanes.values())
