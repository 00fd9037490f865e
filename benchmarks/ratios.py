"""Time a reference in the same run, for ratios that hold when the machine's speed drifts."""

from collections.abc import Callable
from statistics import median
from time import perf_counter


def seconds(work: Callable[[], object], repeat: int = 7) -> float:
    """Median seconds of `work()`, run once before to warm up."""
    work()
    times = []
    for _ in range(repeat):
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    return median(times)
