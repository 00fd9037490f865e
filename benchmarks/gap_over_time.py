"""`python -m benchmarks.gap_over_time`: how close each method gets in how much time, as a picture.

The gap is to the least bound that any run knows. Aurora solves again at growing work, the peers
search again up to growing limits; a peer that finds nothing within a limit has no point there.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from aurora_batch.allocation import Allocation, check, solve
from aurora_batch.allocation.result import Prices
from benchmarks import drawing, instances
from benchmarks.peers import PEERS, verified
from benchmarks.ratios import seconds
from benchmarks.runs import LONG, REPEAT, Run, compared, compile_kernels

CHOSEN = ["rush_hour", "granular", "scarce"]
WORK = (100_000, 250_000, 500_000, 10**6, 2 * 10**6, 5 * 10**6, 10**7, 3 * 10**7, 10**8)
LIMITS = (1.0, 3.0, 10.0, 30.0)
SEARCHING = ("SciPy MILP", "SCIP", "CP-SAT")
LEAST = 1e-6  # a gap below is drawn as this
STYLES = {
    "ours": (drawing.BLUE, "o"),
    "ours, warm": (drawing.LIGHT, "s"),
    "greedy": (drawing.ORANGE, "D"),
    "SciPy MILP": (drawing.GREEN, "^"),
    "SCIP": (drawing.VIOLET, "v"),
    "CP-SAT": (drawing.PINK, "P"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and draw."""
    args = _parser().parse_args(argv)
    out, notes = Console(width=100, highlight=False), Console(stderr=True, highlight=False)
    compile_kernels()
    canvas = Figure(figsize=(3.9 * len(args.instances), 4.2), layout="constrained")
    panels = canvas.subplots(1, len(args.instances), squeeze=False, sharex=True, sharey=True)[0]
    for name, axes in zip(args.instances, panels, strict=True):
        notes.print(f"{name} ...", style="dim")
        runs = compared(list(_runs(name, args.seed, args.limits)))
        draw(axes, name, runs)
        for r in runs:
            gap = 100 * (1 - r.of_best_bound)
            out.print(f"{name:<10}  {r.method:<10}  {r.seconds:10.4f} s  gap {gap:8.4f} %")
    panels[0].set_ylabel("gap to the best bound known", color=drawing.INK, fontsize=9)
    panels[0].yaxis.set_major_formatter(drawing.PERCENT)
    canvas.legend(
        *panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(STYLES),
        frameon=False, fontsize=9, labelcolor=drawing.INK,
    )  # fmt: skip
    drawing.save(canvas, args.out)
    notes.print(f"written: {args.out}")
    return 0


def _runs(name: str, seed: int, limits: Sequence[float]) -> Iterator[Run]:
    """Aurora cold and warm at growing work, greedy, and peers at growing limits."""
    problem = instances.NAMED[name](seed, 0)
    proofs: list[Allocation] = []
    prices = solve(instances.NAMED[name](seed, 1)).prices
    for method, warm in (("ours", None), ("ours, warm", prices)):
        for run, allocation in _at_growing_work(name, method, seed, warm):
            proofs.append(allocation)
            yield run
    proof = min(proofs, key=lambda a: a.bound)
    for method in ("greedy", *SEARCHING):
        for limit in limits if method in SEARCHING else limits[:1]:
            answer = PEERS[method](problem, limit)
            if answer is not None and answer.value > 0:  # not nan, and not a first try with nobody
                verified(problem, answer, proof)
                yield Run(name, method, answer.seconds, answer.value, answer.bound)


def _at_growing_work(
    name: str, method: str, seed: int, warm: Prices | None
) -> Iterator[tuple[Run, Allocation]]:
    """Solve at more work each time, until more changes nothing."""
    problem, used = instances.NAMED[name](seed, 0), 0
    for work in WORK:
        solving = partial(solve, problem, work=work, warm_start=warm)
        found = solving()
        if found.work == used:
            continue
        check(problem, found)
        used = found.work
        took = found.seconds if used > LONG else seconds(solving, REPEAT)
        yield Run(name, method, took, found.value, found.bound), found


def draw(axes: Axes, name: str, runs: Sequence[Run]) -> None:
    """One instance: a line a method, a point a run."""
    drawing.log_log(axes, name, "time of a solve")
    for method, (color, marker) in STYLES.items():
        mine = sorted((r for r in runs if r.method == method), key=lambda r: r.seconds)
        gaps = [max(1.0 - r.of_best_bound, LEAST) for r in mine]
        axes.plot(
            [r.seconds for r in mine], gaps, color=color, marker=marker, ms=5, lw=1.4, label=method
        )
    axes.xaxis.set_major_formatter(drawing.SECONDS)


def _names(listed: str) -> list[str]:
    names = listed.split(",")
    unknown = [name for name in names if name not in instances.NAMED]
    if unknown:
        known = ", ".join(instances.NAMED)
        raise argparse.ArgumentTypeError(f"no instance {unknown[0]!r}; there are {known}")
    return names


def _seconds(listed: str) -> list[float]:
    return [float(text) for text in listed.split(",")]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gap_over_time",
        description=__doc__,
        epilog="example:\n  python -m benchmarks.gap_over_time --out out/gap_over_time.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("out/gap_over_time.png"), metavar="PNG")
    parser.add_argument(
        "--instances", type=_names, default=CHOSEN, metavar="A,B", help=f"default: {CHOSEN}"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument(
        "--limits", type=_seconds, default=list(LIMITS), metavar="S,S",
        help="of the peers (default: 1,3,10,30, some 7 minutes in all)",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
