"""`python -m benchmarks.table`: allocation on named instances, by Aurora and by other solvers.

For each instance and method: seconds, the value as a share of the best bound that any method here
knows, the method's own gap, and how many times as fast as SciPy's LP it was in the same run.
Kernels are compiled before the clock starts; Aurora's seconds are the median of a few solves.
`-` stands for what a method does not give or where it was not run.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks import gap_table
from benchmarks.peers import PEERS
from benchmarks.runs import COLD, MADE, WARM, Run, compile_kernels, measured, medians

METHODS = (*COLD, *WARM, *PEERS)


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table; 0 done, 1 the GAP sets are missing where CI=true."""
    args = _parser().parse_args(argv)
    screen, notes = Console(width=100, highlight=False), Console(stderr=True, highlight=False)
    compile_kernels()
    if args.gap:
        return gap_table.show(screen, notes, args.limit, args.json)
    runs: list[Run] = []
    for name in [*args.instances, *(["wide_fleet"] if args.wide else [])]:
        notes.print(f"{name} ...", style="dim")
        seeds = range(args.seeds)
        of_name = medians([measured(name, s, args.limit, quick=args.quick) for s in seeds])
        if not args.json:
            screen.print(drawn(name, of_name, args.seeds))
        runs += of_name
    if args.json:
        screen.out(json.dumps([_plain(run) for run in runs], indent=1))
    return 0


def drawn(name: str, runs: Sequence[Run], seeds: int) -> Table:
    """One instance as a table, a row a method."""
    title = f"{name}: {(MADE[name].__doc__ or '').strip()}"
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, title_style="bold")
    table.add_column("method" if seeds == 1 else f"method, medians of {seeds} seeds", min_width=20)
    for heading in ("seconds", "% of best bound", "own gap %", "x as fast as LP"):
        table.add_column(heading, justify="right")
    found = {run.method: run for run in runs}
    for method in dict.fromkeys((*METHODS, *found)):
        r = found.get(method)
        figures = (
            ("-",) * 4
            if r is None
            else (
                _text(r.seconds, 4),
                _text(100 * r.of_best_bound, 4),
                _text(100 * r.own_gap, 4),
                _text(r.times_lp, 2 if r.times_lp < 10 else 0),
            )
        )
        table.add_row(method, *figures)
    return table


def _text(figure: float, digits: int) -> str:
    return "-" if math.isnan(figure) else f"{figure:,.{digits}f}"


def _plain(run: Run) -> dict[str, object]:
    """Figures that JSON can say: none for nan."""
    return {
        k: None if isinstance(v, float) and not math.isfinite(v) else v
        for k, v in asdict(run).items()
    }


def _names(listed: str) -> list[str]:
    names = listed.split(",")
    unknown = [name for name in names if name not in MADE]
    if unknown:
        raise argparse.ArgumentTypeError(f"no instance {unknown[0]!r}; there are {', '.join(MADE)}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.table",
        description=__doc__,
        epilog="example:\n  python -m benchmarks.table --instances granular,tenants --seeds 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    named = [name for name in MADE if name != "wide_fleet"]
    parser.add_argument(
        "--instances", type=_names, default=named, metavar="A,B", help="default: all but wide_fleet"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="medians of so many")
    parser.add_argument(
        "--limit", type=float, default=20.0, metavar="S", help="of a slow peer (default: 20 s)"
    )
    parser.add_argument("--quick", action="store_true", help="without the slow peers")
    parser.add_argument("--wide", action="store_true", help="also 100,000 x 1,024, some minutes")
    parser.add_argument("--gap", action="store_true", help="the public GAP sets instead")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
