"""When micro-batches close."""

from aurora_batch.microbatch import MicroBatch
from aurora_batch.schema import Record
from aurora_batch.settings import BatchSettings, Bytes


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self) -> float:
        """Seconds now."""
        return self.now


def records(*sizes: int) -> list[Record]:
    """Records with payloads of these sizes."""
    return [Record(b"x" * size, None, "t", 0, i, 0, ()) for i, size in enumerate(sizes)]


def open_batch(clock: Clock | None = None, **settings: object) -> MicroBatch:
    """A fresh accumulator."""
    return MicroBatch(BatchSettings(**settings), clock or Clock())  # type: ignore[arg-type]


def test_closes_on_count() -> None:
    """Each `max_requests` records make a batch; the rest stays open."""
    batch = open_batch(max_requests=2)

    assert [len(closed) for closed in batch.add(records(*[1] * 5))] == [2, 2]
    assert len(batch) == 1


def test_closes_before_it_grows_too_large() -> None:
    """A record that would exceed `max_bytes` opens the next batch."""
    batch = open_batch(max_bytes=Bytes(10))

    assert [len(closed) for closed in batch.add(records(6, 4, 1))] == [2]
    assert len(batch) == 1


def test_one_huge_record_is_a_batch_of_its_own() -> None:
    """A single record larger than `max_bytes` still gets through, alone."""
    batch = open_batch(max_bytes=Bytes(10))

    assert [len(closed) for closed in batch.add(records(1, 50, 1))] == [1, 1]


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


def test_nothing_open_is_never_due() -> None:
    """An empty accumulator waits for its first record."""
    batch = open_batch()

    assert batch.due() is None
    assert batch.take() == []


def test_order_is_kept() -> None:
    """Closed batches and the open one hold the records in the order of their arrival."""
    batch = open_batch(max_requests=2)
    closed = batch.add(records(1, 1, 1))

    assert [r.offset for r in [*closed[0], *batch.take()]] == [0, 1, 2]
