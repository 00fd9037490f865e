"""When micro-batches close, and with what."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_batch.alignment import Merged
from aurora_batch.microbatch import MicroBatch
from aurora_batch.schema import Record, Records
from aurora_batch.settings import BatchSettings, Bytes


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        """Seconds now."""
        return self.now


def records(*sizes: int) -> Merged:
    """Records with payloads of these sizes."""
    made = [Record(b"x" * size, None, "t", 0, i, 0, ()) for i, size in enumerate(sizes)]
    return Merged.of(Records.of(made))


def between(partition: int, low: int, high: int) -> Merged:
    """Records of some offsets, four bytes each."""
    made = [Record(b"....", partition=partition, offset=o) for o in range(low, high)]
    return Merged.of(Records.of(made))


def open_batch(clock: Clock | None = None, **settings: object) -> MicroBatch:
    """A fresh accumulator."""
    return MicroBatch(BatchSettings(**settings), clock or Clock(), Clock())  # type: ignore[arg-type]


def test_closes_on_count() -> None:
    """Each `max_requests` records make a batch; the rest stays open."""
    batch = open_batch(max_requests=2)

    assert [len(closed.records) for closed in batch.add(records(*[1] * 5))] == [2, 2]
    assert len(batch) == 1


def test_closes_before_it_grows_too_large() -> None:
    """A record that would exceed `max_bytes` opens the next batch."""
    batch = open_batch(max_bytes=Bytes(10))

    assert [len(closed.records) for closed in batch.add(records(6, 4, 1))] == [2]
    assert len(batch) == 1


def test_one_huge_record_is_a_batch_of_its_own() -> None:
    """A single record larger than `max_bytes` still gets through, alone."""
    batch = open_batch(max_bytes=Bytes(10))

    assert [len(closed.records) for closed in batch.add(records(1, 50, 1))] == [1, 1]


def test_age_counts_from_the_first_record() -> None:
    """Later records do not make an open batch younger."""
    clock = Clock()
    batch = open_batch(clock, linger_ms=20)
    batch.add(records(1))
    clock.now = 0.015
    batch.add(records(1))

    assert abs((batch.due() or 0) - 0.005) < 1e-9
    clock.now = 0.5
    assert batch.due() == 0


@pytest.mark.parametrize(
    ("made_us", "due"),
    [
        (100_000_000, 0.020),
        (99_996_000, 0.016),
        (99_000_000, 0.010),
        (200_000_000, 0.020),
        (-1, 0.020),
    ],
)
def test_a_record_ages_before_it_arrives(made_us: int, due: float) -> None:
    """By its timestamp, for a half of the linger at most; one of the future, or none, is new."""
    wall = Clock()
    wall.now = 100.0
    batch = MicroBatch(BatchSettings(linger_ms=20), Clock(), wall)
    assert not batch.add(Merged.of(Records.of([Record(b"x", timestamp_us=made_us)])))
    assert batch.due() == pytest.approx(due)


def test_nothing_open_is_never_due() -> None:
    """An empty accumulator waits for its first record."""
    batch = open_batch()

    assert batch.due() is None
    assert batch.take() == []


def test_order_is_kept() -> None:
    """Closed batches and the open one hold the records in the order of their arrival."""
    batch = open_batch(max_requests=2)
    closed = [*batch.add(records(1, 1, 1)), *batch.take()]

    assert [r.offset for b in closed for r in b.records] == [0, 1, 2]


def test_each_record_keeps_its_time_of_arrival() -> None:
    """Over batches that close by count, in the middle of what arrived together."""
    clock = Clock()
    batch = open_batch(clock, max_requests=3)
    assert batch.add(between(0, 0, 2)) == []
    clock.now = 5.0

    (first,) = batch.add(between(0, 2, 4))
    (second,) = batch.take()

    assert first.arrived.tolist() == [0, 0, 5]
    assert (first.wait_s, first.bytes) == (5.0, 3 * 104)
    assert [r.offset for r in second.records] == [3]
    assert (second.arrived.tolist(), second.wait_s) == ([5.0], 0.0)
    assert batch.take() == []


def test_log_order_is_by_partition_and_offset_with_times_alongside() -> None:
    """The order of decisions does not depend on which partition came first."""
    clock = Clock()
    open_ = open_batch(clock)
    open_.add(between(1, 7, 9))
    clock.now = 1.0
    open_.add(between(0, 3, 5))

    (batch,) = open_.take()

    places = [(r.partition, r.offset) for r in batch.records]
    assert places == [(0, 3), (0, 4), (1, 7), (1, 8)]
    assert batch.arrived.tolist() == [1, 1, 0, 0]
    assert batch.bytes == 4 * 104


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=9), max_size=6),
    st.integers(1, 5),
    st.integers(1, 30),
)
def test_batches_are_those_that_one_record_after_the_other_would_make(
    polled: list[list[tuple[int, int]]], most: int, most_bytes: int
) -> None:
    """Whatever comes together: the same cuts as by looking at each record alone."""
    batch = open_batch(max_requests=most, max_bytes=Bytes(most_bytes))
    closed, expected, open_, offset = [], [], [], 0
    for piece in polled:
        made = []
        for partition, size in piece:
            made.append(Record(b"x" * size, partition=partition, offset=offset))
            offset += 1
            if open_ and sum(len(r.value or b"") for r in open_) + size > most_bytes:
                expected.append(open_)
                open_ = []
            open_.append(made[-1])
            if len(open_) == most:
                expected.append(open_)
                open_ = []
        closed += batch.add(Merged.of(Records.of(made)))
    closed += batch.take()

    cuts = [sorted(r.offset for r in b.records) for b in closed]
    assert cuts == [[r.offset for r in b] for b in [*expected, open_] if b]
    for b in closed:
        order = np.lexsort((b.records.offset, b.records.partition))
        assert order.tolist() == list(range(len(order)))
