"""`python -m benchmarks.small_problems`: `auto` against the optimum on small random problems.

Up to 200 x 8 with ties, masks and budgets (`instances.small`), `auto` with a deadline against
SciPy's MILP. A value equals the optimum within 1e-9, relative. Where MILP does not end within its
limit, the difference is to the better of the two bounds: it is at most what is printed. What MILP
found until then is told beside it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import perf_counter

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aurora_batch.allocation import check, solve
from benchmarks import instances
from benchmarks.peers import scipy_milp, verified
from benchmarks.runs import compile_kernels

EQUAL = 1e-9
QUANTILES = (0.5, 0.9, 0.99, 1.0)
WORST = 10


@dataclass(frozen=True)
class Comparison:
    """`auto` beside MILP on one problem."""

    seed: int
    pairs: int
    value: float
    best: float  # value of MILP's optimum, or its bound
    proven: bool  # which of the two
    reached: float  # value that MILP found
    status: str  # of `auto`
    seconds: float  # of `auto`
    milp_seconds: float

    @property
    def off(self) -> float:
        """Relative difference to the best, at least 0."""
        return max((self.best - self.value) / self.best, 0.0) if self.best > 0 else 0.0

    @property
    def behind(self) -> float:
        """Relative difference to what MILP found; negative where that is less."""
        return (self.reached - self.value) / self.best if self.best > 0 else 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Compare and print."""
    args = _parser().parse_args(argv)
    compile_kernels()
    start = perf_counter()
    bar = Progress(
        TextColumn("comparing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
    )  # fmt: skip
    with bar:
        seeds = args.seeds or range(args.first, args.first + args.count)
        found = [compared(s, args.deadline, args.limit) for s in bar.track(seeds)]
    figures = summary(found) | {"total_seconds": perf_counter() - start}
    out = Console(width=100, highlight=False)
    if args.json:
        out.out(json.dumps(figures | {"worst": [asdict(c) for c in worst(found)]}, indent=1))
        return 0
    for name, figure in figures.items():
        out.print(f"{name.replace('_', ' '):<32}{figure:>14,.6g}")
    for c in worst(found):
        ended = "" if c.proven else f" ({100 * c.behind:+.5f} % to ours) unproven"
        out.print(
            f"  seed {c.seed}: {100 * c.off:.5f} % off, {c.pairs:,} pairs, {c.status}"
            f" after {c.seconds:.2f} s; MILP{ended} after {c.milp_seconds:.2f} s"
        )
    return 0


def compared(seed: int, deadline_s: float, limit_s: float) -> Comparison:
    """Solve one problem both ways, each result checked."""
    problem = instances.small(seed)
    ours = solve(problem, deadline_s=deadline_s)
    check(problem, ours)
    sparse = problem.sparse()
    answer = verified(sparse, scipy_milp(sparse, limit_s), ours)
    proven = answer.bound == answer.value
    best = answer.value if proven else float(np.fmin(ours.bound, answer.bound))
    return Comparison(
        seed, sparse.data.size, ours.value, best, proven, answer.value,
        ours.status, ours.seconds, answer.seconds,
    )  # fmt: skip


def summary(found: Sequence[Comparison]) -> dict[str, float]:
    """Figures over all problems."""
    off = np.array([c.off for c in found])
    own = np.array([c.seconds for c in found])
    quantiles = {f"off_percent_q{100 * q:g}": 100 * np.quantile(off, q) for q in QUANTILES}
    return {
        "problems": len(found),
        "equal_percent": 100 * float((off <= EQUAL).mean()),
        "proven_by_milp_percent": 100 * float(np.mean([c.proven for c in found])),
        "proven_by_auto_percent": 100 * float(np.mean([c.status == "optimal" for c in found])),
        **{name: float(q) for name, q in quantiles.items()},
        "off_percent_most_where_proven": 100 * max((c.off for c in found if c.proven), default=0.0),
        "behind_milp_percent_most": 100 * max((c.behind for c in found), default=0.0),
        "seconds_median": float(np.median(own)),
        "seconds_most": float(own.max()),
        "milp_seconds_median": float(np.median([c.milp_seconds for c in found])),
    }


def worst(found: Sequence[Comparison]) -> list[Comparison]:
    """The problems furthest off, those that equal left out."""
    missed = [c for c in found if c.off > EQUAL]
    return sorted(missed, key=lambda c: -c.off)[:WORST]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.small_problems",
        description=__doc__,
        epilog="example:\n  python -m benchmarks.small_problems --count 200",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--count", type=int, default=1_000, metavar="N", help="default: 1,000")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="default: 0")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="SEED", help="these instead")
    parser.add_argument(
        "--deadline", type=float, default=1.0, metavar="S", help="of `auto` (default: 1 s)"
    )
    parser.add_argument("--limit", type=float, default=60.0, metavar="S", help="of MILP (60 s)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
