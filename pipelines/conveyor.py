"""Reading ahead and writing behind: threads beside the one that decides.

Arrow, Parquet and Numba's kernels hold no lock while they work, so the next piece of a log is read,
and the last ones are made into decisions and written, while this one is decided. Order is kept, and
what waits is bounded; an error in any thread is raised where its piece was wanted.
"""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")
AHEAD = 2  # pieces that are read before they are asked for


def ahead(items: Generator[T, None, None], most: int = AHEAD) -> Generator[T, None, None]:
    """Yield the items, in their order, taken by a thread of its own, at most `most` early."""
    waiting: deque[Future[T | None]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        try:
            waiting.extend(thread.submit(next, items, None) for _ in range(most))
            while (item := waiting.popleft().result()) is not None:
                waiting.append(thread.submit(next, items, None))
                yield item
        finally:
            for future in waiting:
                future.cancel()
            thread.submit(items.close).result()


class Behind:
    """A context manager that makes calls in their order in a thread of its own.

    Leaving it waits for all of them; an exception in the block drops those that wait.

    Parameters
    ----------
    most
        Size of the calls that may wait; one call may be larger.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="behind")
        self._waiting: deque[tuple[Future[object], int]] = deque()
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def call(self, size: int, function: Callable[..., object], *arguments: Any) -> None:
        """Have `function(*arguments)` called; waits for room, and raises what an earlier one did.

        `size` is what it counts for while it waits.
        """
        while self._waiting and (self._size + size > self._most or self._waiting[0][0].done()):
            self._wait()
        self._waiting.append((self._thread.submit(function, *arguments), size))
        self._size += size

    def _wait(self) -> None:
        future, size = self._waiting.popleft()
        self._size -= size
        future.result()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            while kind is None and self._waiting:
                self._wait()
        finally:
            self._thread.shutdown(wait=True, cancel_futures=True)
