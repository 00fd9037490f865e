"""`aurora replay`: decide a request log offline, by one policy or by several side by side."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from aurora_batch.adapters.files import Chunk
from aurora_batch.adapters.outputs import DecisionWriter
from aurora_batch.errors import UsageError
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.model import Policy
from aurora_batch.warm_up import warm_up
from pipelines import cli_options, report
from pipelines.contestants import BOTH, contestants
from pipelines.figures import Figures
from pipelines.playback import play


def register(subparsers: Any) -> None:
    """Add `aurora replay`."""
    parser = subparsers.add_parser(
        "replay",
        help="decide a request log offline",
        description=(
            "Decide a request log (Parquet, NDJSON, CSV, Arrow IPC) and write a decision for\n"
            "every row, in their order. Each window of event time is solved at once, in pieces\n"
            "of at most replay.chunk_requests; --as-live closes batches as the stream would.\n"
            "With --policy both, greedy and global decide the same log side by side; --as-live,\n"
            "batch_only does too, which is global without its look-ahead. --out is global's."
        ),
        epilog="example:\n  aurora replay log.parquet --out decisions.parquet --policy both",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("requests", type=Path, metavar="REQUESTS", help="the request log")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DECISIONS",
        help="decisions: .parquet, .ndjson, .csv or .arrow",
    )  # fmt: skip
    parser.add_argument("--policy", choices=[*Policy, BOTH], help="default: the configured policy")
    parser.add_argument("--as-live", action="store_true", help="close batches as the stream would")
    parser.add_argument(
        "--providers", type=Path, metavar="FILE", help="a providers.yaml for this run"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE.html", help="a page with figures and charts"
    )
    parser.add_argument(
        "--no-bounds", dest="bounds", action="store_false",
        help="do not solve for what gap and regret alone need: greedy decides faster",
    )  # fmt: skip
    parser.add_argument(
        "--windows", action="store_true", help="with --json, the figures of each window too"
    )
    cli_options.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay one log."""
    settings = cli_options.load(args).settings
    fleet = fleet_from_settings(settings.providers)
    playing = contestants(args.policy, settings, as_live=args.as_live)
    _refuse_overwriting(args)
    if not args.bounds and (args.report or args.windows):
        raise UsageError("--no-bounds: the report and --windows show bounds; leave one of them out")
    begun = perf_counter()
    with ExitStack() as stack:
        page = stack.enter_context(report.page(args.report)) if args.report else None
        out = stack.enter_context(DecisionWriter(args.out))
        watch = stack.enter_context(_progress(_shows(args)))
        warm_up(fleet, settings)
        figures = play(
            args.requests, playing, fleet,
            write=out.write, as_live=args.as_live, bounds=args.bounds, watch=watch,
        )  # fmt: skip
        seconds = perf_counter() - begun
        if page is not None:
            page(report.Replayed(args.requests.name, fleet, figures, seconds, args.as_live))
    if args.json:
        sys.stdout.write(json.dumps(to_dict(figures, seconds, windows=args.windows)) + "\n")
    elif not args.quiet:
        Console().print(table(args.requests.name, figures))
        written = [str(path) for path in (args.out, args.report) if path is not None]
        Console().print(f"{seconds:.1f} s; written: {', '.join(written)}", highlight=False)
    return 0


def to_dict(
    figures: Mapping[str, Figures], seconds: float, *, windows: bool = False
) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    return {
        "requests": max((f.requests for f in figures.values()), default=0),
        "policies": {
            name: f.to_dict() | ({"windows": f.by_window()} if windows else {})
            for name, f in figures.items()
        },
        "seconds": seconds,
    }


def table(title: str, figures: Mapping[str, Figures]) -> Table:
    """Return the figures of the contestants side by side."""
    screen = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    screen.add_column("")
    for name in figures:
        screen.add_column(name, justify="right")
    columns = [f.lines() | _counts(f) for f in figures.values()]
    for name in dict.fromkeys(name for column in columns for name in column):
        screen.add_row(name, *(column.get(name, "-") for column in columns))
    return screen


def _counts(f: Figures) -> dict[str, str]:
    at = {f"at {name}": f"{count:,}" for name, count in sorted(f.providers.items())}
    return at | {f"reason {name}": f"{count:,}" for name, count in sorted(f.reasons.items())}


@contextmanager
def _progress(shown: bool) -> Iterator[Callable[[Chunk], None]]:
    """Show how far the log is read; give the function that hears of each chunk."""
    bar = Progress(
        TextColumn("replaying"), BarColumn(), TaskProgressColumn(),
        TextColumn("{task.fields[rows]:,} rows"), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True, disable=not shown,
    )  # fmt: skip
    with bar:
        task = bar.add_task("replay", total=1.0, rows=0)
        yield lambda c: bar.update(
            task, completed=c.done, rows=bar.tasks[task].fields["rows"] + c.rows
        )


def _shows(args: argparse.Namespace) -> bool:
    return not args.quiet and sys.stderr.isatty()


def _refuse_overwriting(args: argparse.Namespace) -> None:
    outputs = [path for path in (args.out, args.report) if path is not None]
    paths = [args.requests.resolve(), *(path.resolve() for path in outputs)]
    for at, path in enumerate(paths):
        if path in paths[:at]:
            raise UsageError(f"{path} is named twice; expected a file of its own for each output")
