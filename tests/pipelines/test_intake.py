"""Records and their times of arrival through the open micro-batch."""

from aurora_batch.schema import Record
from aurora_batch.settings import BatchSettings
from pipelines.intake import Intake


class Clock:
    """Time that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def records(partition: int, low: int, high: int) -> list[Record]:
    """Records of some offsets, four bytes each."""
    return [Record(b"....", partition=partition, offset=o) for o in range(low, high)]


def test_each_record_keeps_its_time_of_arrival() -> None:
    """Over batches that close by count, in the middle of what arrived together."""
    clock = Clock()
    intake = Intake(BatchSettings(max_requests=3), clock)
    assert intake.add(records(0, 0, 2)) == []
    clock.now = 5.0

    (first,) = intake.add(records(0, 2, 4))
    (second,) = intake.take()

    assert first.arrived.tolist() == [0, 0, 5]
    assert (first.wait_s, first.bytes) == (5.0, 3 * 104)
    assert [r.offset for r in second.records] == [3]
    assert (second.arrived.tolist(), second.wait_s) == ([5.0], 0.0)
    assert intake.take() == []


def test_log_order_is_by_partition_and_offset_with_times_alongside() -> None:
    """The order of decisions does not depend on which partition came first."""
    clock = Clock()
    intake = Intake(BatchSettings(), clock)
    intake.add(records(1, 7, 9))
    clock.now = 1.0
    intake.add(records(0, 3, 5))

    (batch,) = intake.take()
    ordered = batch.in_log_order()

    places = [(r.partition, r.offset) for r in ordered.records]
    assert places == [(0, 3), (0, 4), (1, 7), (1, 8)]
    assert ordered.arrived.tolist() == [1, 1, 0, 0]
    assert ordered.bytes == batch.bytes == 4 * 104
