"""Aurora and SciPy's MILP on the public GAP sets: how far from the best known, with every job."""

import json
import os

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from aurora_batch.allocation import check, solve
from benchmarks import gap_sets
from benchmarks.peers import scipy_milp, verified

DEADLINES = (0.5, 2.0)


def show(screen: Console, notes: Console, limit_s: float, as_json: bool) -> int:
    """Print the sets; without their data say so, and return 1 where CI=true."""
    if not gap_sets.FOLDER.is_dir():
        notes.print(
            f"NO GAP SETS: nothing at {gap_sets.FOLDER}, nothing measured", style="bold red"
        )
        return int(os.environ.get("CI") == "true")
    listed = []
    table = Table(box=SIMPLE_HEAD)
    ours = [f"ours, {deadline} s" for deadline in DEADLINES]
    for heading in ("set", "sense", "best known", *ours, f"MILP, {limit_s:g} s", "its seconds"):
        table.add_column(heading, justify="left" if heading in ("set", "sense") else "right")
    for (name, sense), (lower, upper) in gap_sets.best_known().items():
        known = lower if sense == "max" else upper
        notes.print(f"{name} {sense} ...", style="dim")
        *objectives, took = _objectives(name, sense, limit_s)
        off = [100 * abs(reached - known) / known for reached in objectives]
        shown = ["-" if np.isnan(o) else f"{o:.3f} %" for o in off]
        table.add_row(name, sense, f"{known:,.0f}", *shown, f"{took:.2f}")
        listed.append({"set": name, "sense": sense, "best_known": known, "reached": objectives})
    if as_json:
        screen.out(json.dumps(listed, indent=1).replace("NaN", "null"))
    else:
        screen.print(table)
    return 0


def _objectives(name: str, sense: str, limit_s: float) -> tuple[float, ...]:
    """Objective by each of the deadlines, by MILP, and the seconds of the last."""
    problem, profit = gap_sets.load(name, sense)
    reached = []
    for deadline in DEADLINES:
        found = solve(problem, deadline_s=deadline)
        check(problem, found)
        reached.append(gap_sets.objective(profit, found.assignment))
    answer = verified(problem.sparse(), scipy_milp(problem.sparse(), limit_s), found)
    return *reached, gap_sets.objective(profit, answer.assignment), answer.seconds
