"""Reading ahead and writing behind: order kept, errors where they are wanted, nothing left over."""

import threading
from collections.abc import Callable, Generator
from typing import NoReturn

import pytest

from pipelines.conveyor import Behind, ahead


class Numbers:
    """Counts from 0, and knows how far it was read and whether it was closed."""

    def __init__(self, until: int) -> None:
        self.until, self.read, self.closed = until, 0, False

    def items(self) -> Generator[int, None, None]:
        """Yield the numbers, from 1 on."""
        try:
            for i in range(self.until):
                self.read = i + 1
                yield i + 1
        finally:
            self.closed = True


def failing() -> NoReturn:
    """Fail."""
    raise OSError("the disk is full")


@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_all_come_in_their_order(count: int) -> None:
    """However many there are."""
    numbers = Numbers(count)

    assert list(ahead(numbers.items())) == list(range(1, count + 1))
    assert numbers.closed


def test_no_more_is_read_than_may_wait() -> None:
    """Two beyond the one that is worked on; the rest is never read, and the source is closed."""
    numbers = Numbers(1_000)
    reading = ahead(numbers.items(), most=2)

    assert next(reading) == 1
    reading.close()
    assert numbers.read <= 3
    assert numbers.closed


def test_what_comes_before_an_error_comes() -> None:
    """The error of the source is raised in its place."""

    def items() -> Generator[int, None, None]:
        yield 1
        failing()

    reading = ahead(items())
    assert next(reading) == 1
    with pytest.raises(OSError, match="the disk is full"):
        next(reading)


def test_calls_are_made_in_their_order_in_one_other_thread() -> None:
    """All of them before the block is left, however little may wait."""
    made: list[tuple[int, int]] = []
    with Behind(3) as behind:
        for i in range(100):
            behind.call(i % 7, lambda x: made.append((x, threading.get_ident())), i)

    assert [x for x, _ in made] == list(range(100))
    assert len({thread for _, thread in made} | {threading.get_ident()}) == 2


def test_an_error_behind_is_raised() -> None:
    """When the next call is made, or at the end."""
    with pytest.raises(OSError, match="the disk is full"):
        _two_calls(failing, list)
    with pytest.raises(OSError, match="the disk is full"):
        _two_calls(list, failing)


def _two_calls(one: Callable[[], object], other: Callable[[], object]) -> None:
    with Behind(1) as behind:
        behind.call(1, one)
        behind.call(1, other)


def test_an_error_in_the_block_drops_what_waits() -> None:
    """What runs is waited for, what waits is not made."""
    begun, go, made = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        go.wait(10)
        made.append(1)

    def interrupted() -> None:
        with Behind(10) as behind:
            behind.call(1, first)
            behind.call(1, made.append, 2)
            begun.wait(10)
            threading.Timer(0.05, go.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert made == [1]
