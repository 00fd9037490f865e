"""Storms by themselves, with what they did and found as tables; exit 1 on any violation.

    python -m tests.storm.run [PART ...] [--requests N] [--kills N] [--seed N]    (`make storm`)

The parts: `workers` are killed at random and at named points, `broker`: the only node is killed and
started again, `nodes`: one of three dies in mid-transaction, `blocked`: a broker stands still.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.broker import Broker, Brokers
from tests.storm.blocked import blocked
from tests.storm.faults import Faults, broker_storm, failover
from tests.storm.load import Load, scarce
from tests.storm.storm import POINTS, Result, Storm, lives

UNBLOCKED_S = 5.0  # for readers of a shard whose worker is killed and has a successor at once
RECOVERED_S = 30.0  # for a worker whose node died and did not come back
GROWTH_MIB = 64.0  # of a worker whose broker stands still
SCARCE = 0.9  # share of the fullest pool and budget used, mean of windows; or it proves little
PARTS = ("workers", "broker", "nodes", "blocked")

Rows = Mapping[str, str]
Outcome = tuple[Rows, list[str]]  # figures, violations


@contextmanager
def bars(say: Console, **totals: int) -> Iterator[Callable[..., None]]:
    """Show a bar for each name; yields what moves them, in the order of the names."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with Progress(*columns, TimeElapsedColumn(), console=say) as bar:
        tasks = [bar.add_task(name, total=total) for name, total in totals.items()]

        def moved(*done: int) -> None:
            for task, count in zip(tasks, done, strict=True):
                bar.update(task, completed=count)

        yield moved


def storm(
    bootstrap: str, folder: Path, *, requests: int, kills: int, seed: int, say: Console
) -> tuple[Load, Result]:
    """Run a storm over three workers; return what was sent and what was found."""
    load = scarce(bootstrap, "storm", requests, seed=seed, batch=100, transactional="auto")
    plan = lives(kills, list(POINTS), 3, seed)
    whole = Storm(load, folder, plan)
    with bars(say, kills=whole.planned, decided=requests) as moved:
        whole.progress = moved
        return load, asyncio.run(whole.run())


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


def workers(folder: Path, args: argparse.Namespace, say: Console) -> Outcome:
    """Kill workers."""
    with Broker(folder / "broker") as broker:
        load, result = storm(
            broker.bootstrap, folder, requests=args.requests, kills=args.kills, seed=args.seed,
            say=say,
        )  # fmt: skip
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
        "decisions made again offline": f"{result.audited:,}",
        "seconds": f"{result.seconds:.0f}",
    }
    return rows, result.found.lines() + weaknesses(result)


def broker(folder: Path, args: argparse.Namespace, say: Console) -> Outcome:
    """Kill the only node."""
    rounds = args.broker_kills
    with Broker(folder / "broker") as node, bars(say, kills=rounds) as moved:
        load = scarce(
            node.bootstrap, "dying", args.requests // 4, seed=args.seed, batch=100,
            transactional="auto",
        )  # fmt: skip
        faults = asyncio.run(
            broker_storm(node, load, folder / "worker", rounds, args.seed, progress=moved)
        )
    return _rows_of(faults), faults.found().lines()


def nodes(folder: Path, args: argparse.Namespace, say: Console) -> Outcome:
    """Kill one node of three."""
    with Brokers(folder / "brokers", 3) as cluster:
        load = scarce(
            cluster.bootstrap, "three", args.requests // 8, seed=args.seed, batch=100,
            transactional="auto",
        )  # fmt: skip
        faults = asyncio.run(failover(cluster, load, folder / "worker"))
    late = [
        f"no decision for {o.recovered_s:.1f} s without the {o.what}, expected {RECOVERED_S:g} s"
        for o in faults.outages
        if o.recovered_s > RECOVERED_S
    ]
    return _rows_of(faults), faults.found().lines() + late


def _rows_of(faults: Faults) -> Rows:
    rows = {"requests": f"{faults.load.requests.num_rows:,}"}
    for what in dict.fromkeys(o.what for o in faults.outages):
        times = [o.recovered_s for o in faults.outages if o.what == what]
        rows[f"SIGKILLs of the {what}"] = f"{len(times)}"
        rows[f"  kill to next decision, median ({what})"] = f"{np.median(times):.1f} s"
        rows[f"  longest ({what})"] = f"{max(times):.1f} s"
    rows["SIGTERM to end, longest"] = f"{max(faults.stops_s):.1f} s"
    rows["distinct requests decided"] = f"{faults.checker.decided:,}"
    return rows


def still(folder: Path, args: argparse.Namespace, say: Console) -> Outcome:
    """Let the broker stand still."""
    with Broker(folder / "broker") as node, bars(say, decided=2 * args.requests) as moved:
        load = scarce(
            node.bootstrap, "blocked", 2 * args.requests, seed=args.seed, batch=2_000,
            transactional="auto", max_in_flight_bytes=16 * 2**20,
        )  # fmt: skip
        seen = asyncio.run(blocked(node, load, folder / "worker", args.blocked_s, moved))
    lines = seen.found.lines()
    if seen.grown_mib > GROWTH_MIB:
        lines.append(f"memory grew by {seen.grown_mib:.1f} MiB, expected {GROWTH_MIB:g} at most")
    if seen.in_flight_mib > seen.most_mib:
        lines.append(f"{seen.in_flight_mib:.0f} MiB in flight, expected {seen.most_mib:g} at most")
    if seen.unwell:
        lines.append(f"/health did not say well {seen.unwell} times of {seen.asked}")
    return seen.rows(), lines


def main() -> int:
    """Run the parts of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--requests", type=int, default=200_000, help="of `workers`")
    parser.add_argument("--kills", type=int, default=30, help="of workers, at random moments")
    parser.add_argument("--broker-kills", type=int, default=10)
    parser.add_argument("--blocked-s", type=float, default=120.0, metavar="S")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if unknown := set(args.parts) - set(PARTS):
        parser.error(f"{', '.join(sorted(unknown))}: expected some of {', '.join(PARTS)}")
    say, failed = Console(stderr=True, highlight=False), False
    say.print("==> compiling kernels, where they are not compiled yet")
    subprocess.run([sys.executable, "-m", "aurora_batch.warm_up"], check=True)
    for name, part in zip(PARTS, (workers, broker, nodes, still), strict=True):
        if not args.parts or name in args.parts:
            say.print(f"==> {name}: {part.__doc__}")
            with tempfile.TemporaryDirectory(prefix="aurora-storm-") as folder:
                rows, lines = part(Path(folder), args, say)
            _show(name, rows, lines)
            failed = failed or bool(lines)
    return 1 if failed else 0


def _show(name: str, rows: Rows, lines: list[str]) -> None:
    shown = Table(box=SIMPLE_HEAD, title=name)
    shown.add_column("what")
    shown.add_column("figure", justify="right")
    for what, figure in {**rows, "violations": f"{len(lines)}"}.items():
        shown.add_row(what, figure)
    Console(highlight=False).print(shown)
    sys.stdout.writelines(f"VIOLATION {line}\n" for line in lines)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
