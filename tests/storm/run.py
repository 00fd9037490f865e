"""A storm by itself, with what it did and found as a table; exit 1 on any violation.

python -m tests.storm.run [--requests N] [--kills N] [--seed N]      (`make storm`)
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.broker import Broker
from tests.storm.load import Load, scarce
from tests.storm.storm import POINTS, Result, Storm, lives

UNBLOCKED_S = 5.0
SCARCE = 0.9  # share of the fullest pool and budget used, mean of windows; or it proves little


def run(
    broker: Broker, folder: Path, *, requests: int, kills: int, seed: int, say: Console
) -> tuple[Load, Result]:
    """Run a storm over three workers; return what was sent and what was found."""
    load = scarce(broker.bootstrap, "storm", requests, seed=seed, batch=100, transactional="auto")
    plan = lives(kills, list(POINTS), 3, seed)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=say) as bar:
        killed = bar.add_task("kills", total=sum(map(len, plan)))
        decided = bar.add_task("decided", total=requests)

        def progress(kills: int, decisions: int) -> None:
            bar.update(killed, completed=kills)
            bar.update(decided, completed=decisions)

        storm = Storm(load, folder, plan, progress)
        return load, asyncio.run(storm.run())


def table(load: Load, result: Result) -> Table:
    """Return what was done, and what was found."""
    shown = Table(box=SIMPLE_HEAD, title="storm")
    shown.add_column("what")
    shown.add_column("figure", justify="right")
    at_points = sum(bool(k.life.point) for k in result.kills)
    starting = sum(k.life.when == "starting" for k in result.kills)
    alone, together = (np.array(result.unblocked_s(alone=a) or [np.nan]) for a in (True, False))
    rows = {
        "requests": f"{load.requests.num_rows:,}",
        "windows of event time": f"{load.windows}",
        "workers, partitions": f"3, {len(load.counts)}",
        "SIGKILLs at random moments": f"{len(result.kills) - at_points}",
        "  of these while starting": f"{starting}",
        "SIGKILLs at named points": f"{at_points}",
        "fullest pool used, mean of windows": f"{result.pool_use:.1%}",
        "fullest budget used, mean of windows": f"{result.budget_use:.1%}",
        "process start to takeover, median": f"{np.median(result.starts_s):.1f} s",
        "kill to next committed decision, median": f"{np.median(together):.1f} s",
        f"  longest of {together.size}": f"{together.max():.1f} s",
        "  median where no other worker starts": f"{np.median(alone):.1f} s",
        f"  longest of {alone.size} of these": f"{alone.max():.1f} s",
        "distinct requests decided": f"{result.decided:,}",
        "seconds": f"{result.seconds:.0f}",
        "violations": f"{sum(result.found.counts.values()):,}",
    }
    for what, figure in rows.items():
        shown.add_row(what, figure)
    return shown


def weaknesses(result: Result, *, unblocked_s: float = UNBLOCKED_S) -> list[str]:
    """Return why a storm without violations would prove too little, or readers waited too long."""
    lines = [f"nobody died {p}" for p in POINTS if not result.at_point(p)]
    for name, use in (("pool", result.pool_use), ("budget", result.budget_use)):
        if use < SCARCE:
            lines.append(f"no {name} was scarce: {use:.1%} of the fullest was used")
    longest = max(result.unblocked_s(alone=True), default=0.0)
    if longest > unblocked_s:
        lines.append(f"readers waited {longest:.1f} s for a successor, expected {unblocked_s:g} s")
    return lines


def main() -> int:
    """Run the storm of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=200_000)
    parser.add_argument("--kills", type=int, default=30, help="at random moments")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    say = Console(stderr=True, highlight=False)
    with tempfile.TemporaryDirectory(prefix="aurora-storm-") as name:
        folder = Path(name)
        say.print("==> starting a broker")
        with Broker(folder / "broker") as broker:
            load, result = run(broker, folder, **vars(args), say=say)
    Console(highlight=False).print(table(load, result))
    failures = result.found.lines() + weaknesses(result)
    sys.stdout.writelines(f"VIOLATION {line}\n" for line in failures)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
