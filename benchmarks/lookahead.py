"""What looking ahead costs: decisions with reserve prices beside decisions without.

    python -m benchmarks.lookahead                100,000 requests/s in batches of 2,000, 60 s

Batches of a seeded log become due at the rate; each is decided twice, with look-ahead and without,
in turns, by states of their own. What a worker does in threads beside is done so here, too: reserve
prices are solved, and samples cut, and neither waits for the other. Windows are short, and the
first ones do not count: only who knows windows that are over has prices to solve again.
"""

import argparse
import gc
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter

import numpy as np
import pyarrow as pa
from rich.console import Console
from rich.progress import track

from aurora_batch import router, workload
from aurora_batch.fleet import Fleet
from aurora_batch.hindsight import without_lookahead
from aurora_batch.outlook import Asked, look_ahead
from aurora_batch.router import RouterState
from aurora_batch.sample import Cut
from aurora_batch.settings import RouterSettings, Settings
from aurora_batch.warm_up import warm_up
from benchmarks import markets
from pipelines.session import AHEAD_SHARE
from pipelines.stream import SWITCH_S

POOLS = 64
EVERY_S = 0.02  # between two batches
WINDOW_S = 10.0
WARM = 2  # windows that do not count


class Decider:
    """Decides batches one after the other, as a worker does."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self._fleet, self._settings = fleet, settings
        self._state: RouterState = router.initial_state(fleet, settings)
        self._beside = ThreadPoolExecutor(2)  # one for prices, one for samples
        self._asked: Asked | None = None  # what another thread has already
        self._cut: Cut | None = None
        self.solves = 0
        self.ms: list[float] = []

    def decide(self, requests: pa.Table) -> None:
        """Decide, note how long it took, and leave the rest to other threads."""
        began = perf_counter()
        for step in router.decide(requests, self._fleet, self._state, self._settings):
            self._state = step.state
        self.ms.append(1e3 * (perf_counter() - began))
        asked, cut = self._state.outlook.asked, self._state.outlook.sample.cut
        if cut is not None and cut is not self._cut:
            self._beside.submit(cut.found)
        if asked is not None and asked is not self._asked:
            self._beside.submit(look_ahead, asked, self._fleet, self._settings, AHEAD_SHARE)
            self.solves += 1
        self._asked, self._cut = asked, cut


def main(argv: Sequence[str] | None = None) -> int:
    """Decide, and print."""
    args = _parser().parse_args(argv)
    if args.seconds <= WARM * WINDOW_S:
        sys.stderr.write(f"--seconds {args.seconds:g}: expected more than {WARM * WINDOW_S:g}\n")
        return 2
    settings = Settings(router=RouterSettings(window_s=WINDOW_S))
    fleet = markets.market(100, POOLS).fleet
    size, count = round(args.rate * EVERY_S), round(args.seconds / EVERY_S)
    per_window = round(args.rate * WINDOW_S)
    log = workload.stress(fleet, size * count, seed=3, per_window=per_window, window_s=WINDOW_S)
    warm_up(fleet, settings)
    deciders = Decider(fleet, settings), Decider(fleet, without_lookahead(settings))
    interval = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_S)  # as `aurora stream` does
    gc.collect()
    gc.freeze()
    began = perf_counter()
    for i in track(range(count), "deciding", console=Console(stderr=True), transient=True):
        time.sleep(max(0.0, began + i * EVERY_S - perf_counter()))
        requests = log.slice(i * size, size).combine_chunks()
        for decider in deciders[:: 1 if i % 2 else -1]:
            decider.decide(requests)
    gc.unfreeze()
    sys.setswitchinterval(interval)
    _report(args.rate, size, deciders)
    return 0


def _report(rate: float, size: int, deciders: tuple[Decider, Decider]) -> None:
    count = len(deciders[0].ms)
    sys.stdout.write(f"{rate:,.0f} requests/s in batches of {size:,}, {count:,} batches\n")
    sys.stdout.write("milliseconds   mean    p50    p90    p99\n")
    figures = []
    for name, decider in zip(("looking ahead", "without"), deciders, strict=True):
        ms = np.array(decider.ms[round(WARM * WINDOW_S / EVERY_S) :])
        figures.append((ms.mean(), *np.percentile(ms, (50, 90, 99))))
        sys.stdout.write(f"{name:<13}" + "".join(f"{x:>7.2f}" for x in figures[-1]) + "\n")
    ratios = (a / b for a, b in zip(*figures, strict=True))
    sys.stdout.write(f"{'ratio':<13}" + "".join(f"{x:>7.2f}" for x in ratios) + "\n")
    sys.stdout.write(f"reserve prices solved {deciders[0].solves} times\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.lookahead", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--rate", type=float, default=100_000.0, help="requests/s (100,000)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the log (60)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
