"""`python -m benchmarks.cost`: what a solve costs as batches grow, drawn and fitted.

CPU time against the pairs that a solve visits, for 1,000 to 100,000 requests by 64 and by 1,024
offers, with work in proportion to the pairs; the least of a few solves, so that what else runs on
the machine counts little. The exponent is the slope of the line fitted through the logarithms: 1 is
linear.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import process_time

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from rich.console import Console

from aurora_batch.allocation import solve
from benchmarks import drawing, instances
from benchmarks.runs import compile_kernels

F64 = NDArray[np.float64]

REQUESTS = (1_000, 3_000, 10_000, 30_000, 100_000)
OFFERS = {64: (drawing.BLUE, "o"), 1_024: (drawing.ORANGE, "D")}
WORK_PER_PAIR = 25
REPEAT, REPEAT_LONG = 7, 2
LONG = 50_000_000  # work beyond which few solves must do


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, fit, print and draw."""
    args = _parser().parse_args(argv)
    out, notes = Console(width=100, highlight=False), Console(stderr=True, highlight=False)
    compile_kernels()
    canvas = Figure(figsize=(6.2, 4.2), layout="constrained")
    axes = canvas.add_subplot()
    drawing.log_log(axes, "", "pairs visited")
    visited, took = np.zeros(0), np.zeros(0)
    for offers, (color, marker) in OFFERS.items():
        v, t = measured(args.requests, offers, out)
        axes.plot(v, t, color=color, marker=marker, lw=0, ms=6, label=f"{offers:,} offers")
        visited, took = np.append(visited, v), np.append(took, t)
        out.print(f"{offers:,} offers: exponent {fitted(v, t)[0]:.3f}")
    slope, log_factor = fitted(visited, took)
    edges = np.array([visited.min(), visited.max()])
    line = np.exp(log_factor) * edges**slope
    axes.plot(edges, line, color=drawing.INK, lw=1, label=f"time ~ pairs ^ {slope:.3f}")
    axes.set_ylabel("CPU time of a solve", color=drawing.INK, fontsize=9)
    axes.yaxis.set_major_formatter(drawing.SECONDS)
    axes.legend(frameon=False, fontsize=9, labelcolor=drawing.INK)
    drawing.save(canvas, args.out)
    out.print(f"all: exponent {slope:.3f}; time grows as visited pairs to this power")
    notes.print(f"written: {args.out}")
    return 0


def measured(requests: Sequence[int], offers: int, out: Console) -> tuple[F64, F64]:
    """Pairs visited and seconds of a solve for each number of requests."""
    visited, took = [], []
    for n in requests:
        problem = instances.market(n, offers, 1.2)
        work = WORK_PER_PAIR * problem.data.size
        found = solve(problem, method="dual", work=work)
        repeat = REPEAT if work <= LONG else REPEAT_LONG
        own = min(cpu_seconds(partial(solve, problem, method="dual", work=work), repeat))
        visited.append(found.work)
        took.append(own)
        out.print(
            f"{n:>8,} x {offers:<5,}  {problem.data.size:>11,} pairs  {found.work:>12,} visited"
            f"  {own:8.4f} s  {1e9 * own / found.work:5.1f} ns each  gap {100 * found.gap:.4f} %"
        )
    return np.array(visited, np.float64), np.array(took)


def cpu_seconds(run: Callable[[], object], repeat: int) -> list[float]:
    """Seconds that this process computes for, run by run."""
    times = []
    for _ in range(repeat):
        start = process_time()
        run()
        times.append(process_time() - start)
    return times


def fitted(x: F64, y: F64) -> tuple[float, float]:
    """Slope and offset of log y over log x, by least squares."""
    slope, offset = np.polyfit(np.log(x), np.log(y), 1)
    return float(slope), float(offset)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cost",
        description=__doc__,
        epilog="example:\n  python -m benchmarks.cost --out out/cost.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("out/cost.png"), metavar="PNG")
    parser.add_argument(
        "--requests", type=lambda listed: [int(n) for n in listed.split(",")],
        default=list(REQUESTS), metavar="N,N", help="default: 1000,3000,10000,30000,100000",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
