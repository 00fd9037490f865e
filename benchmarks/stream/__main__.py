"""The worker from broker to broker at a real Kafka, beside peers that do the same job.

A backlog is worked off by `aurora stream` (JSON and Arrow, exactly once and at least once, one
shard and two), by a loop with aiokafka and by a Quix Streams application; then requests are sent
at rising rates, and each is timed until its committed decision is read. Producer, worker, reader
and broker are processes of their own on this machine.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from confluent_kafka import KafkaException
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from aurora_batch.errors import AuroraError
from benchmarks.stream import latency, start, table, throughput
from benchmarks.stream.cells import BY_NAME, BY_QUIX, CELLS, Cell, Found, Payload
from benchmarks.stream.children import Failed
from benchmarks.stream.place import Place
from tests.broker import Broker, missing_tools

RATES = (1_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0)
FULL_RATES = (1_000.0, 2_000.0, 5_000.0, 10_000.0, 20_000.0, 50_000.0, 100_000.0)
EXAMPLES = """examples:
  python -m benchmarks.stream                                  the usual cells, about 8 minutes
  python -m benchmarks.stream --full --seconds 60 --rounds 5   everything, as acceptance asks for
  python -m benchmarks.stream --only json,aiokafka --rounds 3
  python -m benchmarks.stream --only latency-5 --rates 1000,10000
  python -m benchmarks.stream --kafka localhost:9092           a broker that is there
"""
STOPPED = 130  # as a shell says that Ctrl-C ended it
WIDTH = 110  # of tables that go to a file
BUSY = 0.5  # of a core that others use
QUIX_ENVIRONMENT = Path(".venv-peers") / "bin" / "python"
NO_QUIX = (
    "Quix Streams is not installed: python3 -m venv .venv-peers && "
    ".venv-peers/bin/pip install -r benchmarks/stream/peers/requirements.txt"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, draw and keep."""
    args = _parser().parse_args(argv)
    if args.list:
        for cell in CELLS:
            usual = "" if cell.usual else "  (--full)"
            sys.stdout.write(f"{cell.name:<16}{cell.kind:<12}{cell.says}{usual}\n")
        return 0
    say = Console(stderr=True, highlight=False, quiet=args.quiet)
    cells = _chosen(args, say)
    args.load = os.getloadavg()[0]
    if args.load > BUSY:
        say.print(f"this machine is busy (load {args.load:.1f}): ratios hold better than figures")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    found, code = Found(), 0
    try:
        with ExitStack() as stack:
            place = _place(args, stack, say)
            _measure(args, cells, place, found, say)
    except KeyboardInterrupt:
        say.print("stopped; what is finished:")
        code = STOPPED
    except (Failed, AuroraError, KafkaException, RuntimeError) as error:
        sys.stderr.write(f"error: {error}\n")
        code = 1
    _report(args, found, say)
    return code


def _place(args: argparse.Namespace, stack: ExitStack, say: Console) -> Place:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="aurora-bench-")))
    if args.kafka:
        return Place.at(args.kafka, args.broker_pid, folder)
    if missing := missing_tools():
        raise Failed(f"{' and '.join(missing)} not found: install a JDK and Maven, or use --kafka")
    say.print("==> starting a broker")
    broker = stack.enter_context(Broker(folder / "broker"))
    return Place.at(broker.bootstrap, broker.pid, folder)


def _measure(
    args: argparse.Namespace, cells: list[Cell], place: Place, found: Found, say: Console
) -> None:
    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}")
    with Progress(*columns, TimeElapsedColumn(), console=say, disable=args.quiet) as bar:
        task = bar.add_task("filling", total=args.rounds * len(cells), said="")

        def tell(said: str) -> None:
            bar.update(task, said=said)

        span = args.warm + args.seconds
        inputs = {c.input: c for c in cells if c.kind == "throughput"}
        backlogs = {
            i: throughput.filled(place, c, span, args.count, tell) for i, c in inputs.items()
        }
        if first := [c for c in cells if c.kind == "throughput"][:1]:
            # The broker is a JVM: what it does first, it does slowly.
            _cell(args, first[0], place, backlogs, -1, Found([[]], [[]]), tell)
        for turn in range(args.rounds):
            found.throughput.append([])
            found.latency.append([])
            found.starts.append([])
            for cell in cells if turn % 2 == 0 else cells[::-1]:
                bar.update(task, description=f"round {turn + 1}, {cell.name}", said="starting")
                _cell(args, cell, place, backlogs, turn, found, tell)
                bar.advance(task)


def _cell(
    args: argparse.Namespace, cell: Cell, place: Place,
    backlogs: dict[tuple[Payload, float], throughput.Backlog],
    turn: int, found: Found, say: throughput.Progress,
) -> None:  # fmt: skip
    """Measure one cell, and note what it did in the round that is last."""
    spans = {"warm_s": args.warm, "seconds": args.seconds, "say": say}
    if cell.kind == "throughput":
        backlog, quix = backlogs[cell.input], args.quix_python
        one = throughput.measured(place, cell, backlog, turn, quix=quix, **spans)
        found.throughput[-1].append(one)
        return
    if cell.kind == "start":
        found.starts[-1].append(start.started(place, cell, turn))
        return
    for point in latency.swept(place, cell, args.rates, turn, **spans):
        found.latency[-1].append(point)


def _chosen(args: argparse.Namespace, say: Console) -> list[Cell]:
    """Return the cells to measure, without those that cannot be."""
    if args.only:
        cells = [BY_NAME[name] for name in args.only]
    else:
        cells = [cell for cell in CELLS if cell.usual or args.full]
    if args.rates is None:
        args.rates = FULL_RATES if args.full else RATES
    if args.quix_python is None:
        args.quix_python = QUIX_ENVIRONMENT if QUIX_ENVIRONMENT.exists() else Path(sys.executable)
    if any(cell.by == BY_QUIX for cell in cells) and not _has_quix(args.quix_python):
        say.print(NO_QUIX, soft_wrap=True)
        cells = [cell for cell in cells if cell.by != BY_QUIX]
    return cells


def _has_quix(python: Path) -> bool:
    try:
        asked = subprocess.run([str(python), "-c", "import quixstreams"], capture_output=True)
    except OSError:
        return False
    return asked.returncode == 0


def _report(args: argparse.Namespace, found: Found, say: Console) -> None:
    if not any([*found.throughput, *found.latency, *found.starts]):
        return
    out = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
    folder = args.out / time.strftime("stream-%Y%m%dT%H%M%SZ", time.gmtime())
    folder.mkdir(parents=True, exist_ok=True)
    machine = {"cores": os.cpu_count(), "load_before": args.load, "load_after": os.getloadavg()[0]}
    plain = {"command": sys.argv[1:], "machine": machine, **table.plain(found)}
    (folder / "stream.json").write_text(json.dumps(plain, indent=1) + "\n")
    if args.json:
        sys.stdout.write(json.dumps(plain) + "\n")
    else:
        if any(found.throughput):
            out.print(table.throughput(found))
            if table.ratios(found):
                out.print(table.of_ratios(found))
        if any(found.latency):
            out.print(table.of_latency(found))
        if any(found.starts):
            out.print(table.of_starts(found))
    if any(one.sustained for several in found.latency for one in several):
        table.draw(found, folder / "latency.png")
    say.print(f"written: {folder}", soft_wrap=True)


def _positive(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number > 0")
    return value


def _whole(text: str) -> int:
    return int(_positive(text))


def _rates(text: str) -> list[float]:
    return sorted(_positive(part) for part in text.split(","))


def _names(text: str) -> list[str]:
    for name in (names := text.split(",")):
        if name not in BY_NAME:
            known = ", ".join(BY_NAME)
            raise argparse.ArgumentTypeError(f"no cell {name!r}; there are {known}")
    return names


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.stream", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    add = parser.add_argument
    add("--kafka", metavar="HOST:PORT", help="default: a broker of its own (Java and Maven)")
    add("--broker-pid", type=int, metavar="PID", help="of that broker, where it is on this machine")
    add("--list", action="store_true", help="print the cells and end")
    add("--only", type=_names, metavar="A,B", help="these cells")
    add("--full", action="store_true", help="all cells, and more rates")
    add("--seconds", type=_positive, default=10.0, help="measured of each cell or rate (10)")
    add("--warm", type=_positive, default=3.0, help="seconds before that, discarded (3)")
    add("--rounds", type=_whole, default=1, help="medians are over so many (1)")
    add("--rates", type=_rates, metavar="R,R", help="requests/s to offer")
    add("--count", type=_whole, metavar="N", help="requests in a backlog (default: by --seconds)")
    add("--quix-python", type=Path, metavar="FILE", help=f"has quixstreams ({QUIX_ENVIRONMENT})")
    add("--out", type=Path, default=Path("results"), help="folder for raw results (results)")
    add("--quiet", action="store_true", help="no progress")
    add("--json", action="store_true", help="print the raw results instead of tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
