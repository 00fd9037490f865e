"""`python -m benchmarks.replay`: how fast a log is decided, Parquet to Parquet, and in what memory.

Logs of several lengths, on the built-in fleet at 1.2 times its capacity, are replayed as `aurora
replay LOG --out DECISIONS --no-bounds` does, each in a process of its own. The clock starts when
kernels are loaded and stops when the output has its name. The rate is the best of the rounds, since
whatever else runs can only slow one down; memory is the largest resident set that a process had.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

from matplotlib.figure import Figure
from rich.console import Console

from aurora_batch import workload
from aurora_batch.adapters.outputs import DecisionWriter, RequestWriter
from aurora_batch.fleet import default_fleet
from aurora_batch.model import Policy
from aurora_batch.settings import Settings
from aurora_batch.warm_up import warm_up
from benchmarks import drawing
from pipelines.contestants import contestants
from pipelines.playback import play

REQUESTS = (250_000, 500_000, 1_000_000, 2_000_000, 4_000_000)
LOAD = 1.2
PER_WINDOW = 5_000
PART = 500_000  # requests that are made at once
STYLES = {Policy.GREEDY: (drawing.ORANGE, "D"), Policy.GLOBAL: (drawing.BLUE, "o")}


@dataclass(frozen=True)
class Run:
    """One replay."""

    policy: str
    requests: int
    seconds: float
    cpu_seconds: float  # of all threads
    peak_mib: float

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and draw."""
    args = _parser().parse_args(argv)
    if args.log:
        sys.stdout.write(json.dumps(asdict(replayed(args.log, Policy(args.policies[0])))))
        return 0
    out, notes = Console(width=100, highlight=False), Console(stderr=True, highlight=False)
    runs: list[Run] = []
    with TemporaryDirectory() as folder:
        for n in args.requests:
            log = Path(folder) / f"{n}.parquet"
            notes.print(f"making {n:,} requests ...", style="dim")
            write(log, n, args.per_window)
            for policy in args.policies:
                rounds = [apart(log, policy) for _ in range(args.rounds)]
                runs.append(min(rounds, key=lambda run: run.seconds))
                if not args.json:
                    out.print(line(runs[-1]))
            log.unlink()
    if args.json:
        sys.stdout.write(json.dumps([asdict(run) | {"rate": run.rate} for run in runs]) + "\n")
    if args.out:
        draw(runs, args.out)
        notes.print(f"written: {args.out}")
    return 0


def write(path: Path, n: int, per_window: int) -> None:
    """Write a seeded log, a part at a time."""
    fleet, window_s = default_fleet(), Settings().router.window_s
    with RequestWriter(path) as out:
        for low in range(0, n, PART):
            start = workload.START + timedelta(seconds=low // per_window * window_s)
            count = min(PART, n - low)
            part = workload.stress(
                fleet, count, seed=low, load=LOAD, per_window=per_window, start=start
            )
            out.write(part)


def replayed(log: Path, policy: Policy) -> Run:
    """Replay a log in this process."""
    fleet, settings = default_fleet(), Settings()
    warm_up(fleet, settings)
    begun, cpu = perf_counter(), process_time()
    with DecisionWriter(log.with_suffix(".decisions.parquet")) as out:
        playing = contestants(policy, settings, as_live=False)
        figures = play(log, playing, fleet, write=out.write, bounds=False)
    seconds, cpu = perf_counter() - begun, process_time() - cpu
    return Run(str(policy), figures[policy].requests, seconds, cpu, peak_mib())


def peak_mib() -> float:
    """Return the largest resident set that this process had."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def apart(log: Path, policy: str) -> Run:
    """Replay a log in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.replay", "--log", log, "--policies", policy]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return Run(**json.loads(done.stdout))


def line(run: Run) -> str:
    """Return what is said of a run."""
    return (
        f"{run.policy:<6}  {run.requests:>10,} requests  {run.rate:>9,.0f} requests/s"
        f"  {1e6 * run.cpu_seconds / run.requests:5.2f} us of CPU each  {run.peak_mib:5.0f} MiB"
    )


def draw(runs: Sequence[Run], path: Path) -> None:
    """Draw rate and memory over the length of the log."""
    canvas = Figure(figsize=(8.2, 3.6), layout="constrained")
    rate, memory = canvas.subplots(1, 2)
    drawing.plain(rate, "requests/s, Parquet to Parquet")
    drawing.plain(memory, "largest resident set, MiB")
    for policy, (color, marker) in STYLES.items():
        own = [run for run in runs if run.policy == policy]
        x = [run.requests / 1e6 for run in own]
        style = {"color": color, "marker": marker, "lw": 1.5, "ms": 5, "label": str(policy)}
        rate.plot(x, [run.rate for run in own], **style)
        memory.plot(x, [run.peak_mib for run in own], **style)
    for axes in (rate, memory):
        axes.set_xlabel("million requests in the log", color=drawing.INK, fontsize=9)
        axes.set_ylim(bottom=0)
    rate.yaxis.set_major_formatter(lambda y, _: f"{y:,.0f}")
    rate.legend(frameon=False, fontsize=9, labelcolor=drawing.INK)
    drawing.save(canvas, path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.replay",
        description=__doc__,
        epilog="example:\n  python -m benchmarks.replay --requests 500000,2000000 --rounds 3",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--requests", type=lambda listed: [int(n) for n in listed.split(",")],
        default=list(REQUESTS), metavar="N,N", help="default: 250000 to 4000000",
    )  # fmt: skip
    parser.add_argument(
        "--policies", type=lambda listed: [str(Policy(name)) for name in listed.split(",")],
        default=[str(policy) for policy in STYLES], metavar="P,P", help="default: greedy,global",
    )  # fmt: skip
    parser.add_argument(
        "--per-window", type=int, default=PER_WINDOW, metavar="N",
        help=f"requests of a window (default: {PER_WINDOW:,})",
    )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--json", action="store_true", help="the runs as JSON")
    parser.add_argument("--out", type=Path, metavar="PNG", help="draw them")
    parser.add_argument("--log", type=Path, help=argparse.SUPPRESS)  # replay this one here
    return parser


if __name__ == "__main__":
    sys.exit(main())
