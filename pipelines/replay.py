"""`aurora replay`: decide a request log offline, by one policy or by both side by side."""

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

from aurora_batch import router
from aurora_batch.adapters.files import Chunk
from aurora_batch.adapters.outputs import DecisionWriter
from aurora_batch.errors import UsageError
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.model import Policy
from aurora_batch.settings import Settings
from pipelines import cli_options, report
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
            "With --policy both, greedy and global decide the same log side by side, and --out\n"
            "is global's."
        ),
        epilog="example:\n  aurora replay log.parquet --out decisions.parquet --policy both",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("requests", type=Path, metavar="REQUESTS", help="the request log")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DECISIONS",
        help="decisions: .parquet, .ndjson, .csv or .arrow",
    )  # fmt: skip
    parser.add_argument(
        "--policy", choices=[*Policy, "both"], help="default: the configured policy"
    )
    parser.add_argument("--as-live", action="store_true", help="close batches as the stream would")
    parser.add_argument(
        "--providers", type=Path, metavar="FILE", help="a providers.yaml for this run"
    )
    parser.add_argument(
        "--report", type=Path, metavar="FILE.html", help="a page with figures and charts"
    )
    cli_options.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replay one log."""
    settings = cli_options.load(args).settings
    fleet = fleet_from_settings(settings.providers)
    policies = _policies(args.policy, settings)
    _refuse_overwriting(args)
    begun = perf_counter()
    with ExitStack() as stack:
        page = stack.enter_context(report.page(args.report)) if args.report else None
        out = stack.enter_context(DecisionWriter(args.out))
        watch = stack.enter_context(_progress(_shows(args)))
        router.warm_up(fleet, settings)
        figures = play(
            args.requests, policies, fleet, settings,
            write=out.write, as_live=args.as_live, watch=watch,
        )  # fmt: skip
        seconds = perf_counter() - begun
        if page is not None:
            page(report.Replayed(args.requests.name, fleet, figures, seconds, args.as_live))
    if args.json:
        sys.stdout.write(json.dumps(to_dict(figures, seconds)) + "\n")
    elif not args.quiet:
        Console().print(table(args.requests.name, figures))
        written = [str(path) for path in (args.out, args.report) if path is not None]
        Console().print(f"{seconds:.1f} s; written: {', '.join(written)}", highlight=False)
    return 0


def to_dict(figures: Mapping[Policy, Figures], seconds: float) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    return {
        "requests": max((f.requests for f in figures.values()), default=0),
        "policies": {str(policy): f.to_dict() for policy, f in figures.items()},
        "seconds": seconds,
    }


def table(title: str, figures: Mapping[Policy, Figures]) -> Table:
    """Return the figures of the policies side by side."""
    screen = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    screen.add_column("")
    for policy in figures:
        screen.add_column(str(policy), justify="right")
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


def _policies(said: str | None, settings: Settings) -> list[Policy]:
    if said == "both":
        return [Policy.GREEDY, Policy.GLOBAL]
    return [Policy(said) if said else settings.router.effective_policy]


def _refuse_overwriting(args: argparse.Namespace) -> None:
    outputs = [path for path in (args.out, args.report) if path is not None]
    paths = [args.requests.resolve(), *(path.resolve() for path in outputs)]
    for at, path in enumerate(paths):
        if path in paths[:at]:
            raise UsageError(f"{path} is named twice; expected a file of its own for each output")
