"""`aurora explain`: why one batch of a log was decided as it was."""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from aurora_batch import router
from aurora_batch.adapters.files import read_requests
from aurora_batch.errors import UsageError
from aurora_batch.fleet import Fleet, fleet_from_settings
from aurora_batch.hindsight import with_work, without_lookahead
from aurora_batch.ledger import NO_WINDOW, Ledger
from aurora_batch.model import Policy
from aurora_batch.scoring import Tenants
from aurora_batch.settings import Settings
from pipelines import cli_options
from pipelines.batches import Batch, Batches
from pipelines.explanation import Explanation, Resource, explain

TOP = 5


def register(subparsers: Any) -> None:
    """Add `aurora explain`."""
    parser = subparsers.add_parser(
        "explain",
        help="why one batch of a log was decided as it was",
        description=(
            "Replay a request log until the batch of that id (`batch_id` of its decisions), check\n"
            "its certificate again, and show what its prices say: what one more GPU-hour or USD\n"
            "is worth, which choices were close, and what would have placed the refused.\n"
            "Batches are cut as `aurora replay` cuts them, with --as-live too, and have its ids."
        ),
        epilog="example:\n  aurora explain 20260101T120000Z-1 log.parquet",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("batch", metavar="BATCH", help="the batch's id, as its decisions have it")
    parser.add_argument("requests", type=Path, metavar="REQUESTS", help="the request log")
    parser.add_argument("--as-live", action="store_true", help="close batches as the stream would")
    parser.add_argument("--policy", choices=list(Policy), help="default: the configured policy")
    parser.add_argument(
        "--providers", type=Path, metavar="FILE", help="a providers.yaml for this run"
    )
    parser.add_argument(
        "--top", type=int, default=TOP, metavar="N",
        help=f"close choices, and remedies of a reason, to show at most (default {TOP})",
    )  # fmt: skip
    cli_options.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Explain one batch."""
    if args.top < 0:
        raise UsageError(f"--top {args.top}: expected a number >= 0")
    settings = cli_options.load(args).settings
    fleet = fleet_from_settings(settings.providers)
    policy = Policy(args.policy) if args.policy else settings.router.effective_policy
    found = _find(args.batch, args.requests, fleet, settings, policy, args.as_live)
    said = explain(found.step, found.before, fleet, args.top)
    if args.json:
        sys.stdout.write(json.dumps(to_dict(said)) + "\n")
    else:
        show(said, Console())
    return 0


@dataclass(frozen=True)
class Found:
    """The batch asked for."""

    step: router.Step
    before: Ledger  # what was left when it came, in its window


def _find(
    batch_id: str, log: Path, fleet: Fleet, settings: Settings, policy: Policy, as_live: bool
) -> Found:
    """Decide the log up to that batch; raises `UsageError` where no batch has that id.

    As `aurora replay` does: a window that is solved at once has nothing to look ahead to.
    """
    settings = settings if as_live else without_lookahead(settings)
    state = router.initial_state(fleet, settings)
    first, last, count = "", "", 0
    for batch in _batches(log, Batches(settings, as_live=as_live)):
        enough = with_work(settings, batch.position.size)
        step = router.step(batch.requests, fleet, state, enough, policy=policy)
        last, count = step.batch.batch_id, count + 1
        first = first or last
        if last == batch_id:
            # Again, for the bound that `greedy` does not need; the decisions are the same.
            step = router.step(batch.requests, fleet, state, enough, policy=policy, certify=True)
            tenants = Tenants.from_settings(settings)
            return Found(step, state.ledger.enter(step.batch.window_us, fleet, tenants))
        state = step.state
    seen = f"its {count} batches are {first} to {last}" if count else "it holds no requests"
    other = "without" if as_live else "with"
    raise UsageError(f"{log}: no batch {batch_id}; {seen} ({other} --as-live they differ)")


def _batches(log: Path, batches: Batches) -> Iterator[Batch]:
    first = 0
    for chunk in read_requests(log):
        yield from batches.add(chunk.decoded.requests, chunk.decoded.index + first)
        first += chunk.rows
    yield from batches.finish()


def to_dict(said: Explanation) -> dict[str, Any]:
    """Return the object that `--json` prints."""
    batch = said.batch
    return {
        "batch_id": batch.batch_id,
        "window": _moment(batch.window_us),
        "policy": str(batch.policy),
        "requests": batch.requests,
        "served": batch.served,
        "late": batch.late,
        "value": batch.value,
        "bound": batch.bound,
        "gap": batch.gap,
        "status": batch.status,
        "work": batch.work,
        "certificate": {
            "holds": True,
            **said.certificate._asdict(),
            "net_of_reserve_prices": batch.reserve is not None,
        },
        "pools": [asdict(pool) for pool in said.pools],
        "budgets": [asdict(budget) for budget in said.budgets],
        "ties": [asdict(tie) for tie in said.ties],
        "refusals": [
            {
                "reason": r.reason,
                "requests": r.requests,
                "remedies": [{"remedy": what, "requests": n} for what, n in r.remedies],
            }
            for r in said.refusals
        ],
    }


def show(said: Explanation, console: Console) -> None:
    """Print the screen."""
    console.print(_figures(said))
    console.print(_certificate(said), highlight=False)
    for title, unit, resources in (
        ("pools, GPU-h", "GPU-h", said.pools), ("budgets, USD", "USD", said.budgets),
    ):  # fmt: skip
        if resources:
            console.print(_resources(title, unit, resources))
    if said.ties:
        console.print(_ties(said))
    if said.refusals:
        console.print(_refusals(said))


def _screen(title: str, *columns: str) -> Table:
    """Return an empty table; columns that end in `>` are flush right."""
    screen = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in columns:
        screen.add_column(name.rstrip(">"), justify="right" if name.endswith(">") else "left")
    return screen


def _figures(said: Explanation) -> Table:
    batch = said.batch
    screen = _screen(f"batch {batch.batch_id}", "", ">")
    for name, text in {
        "window": _moment(batch.window_us) or "-",
        "policy": str(batch.policy),
        "requests": f"{batch.requests:,}",
        "served": f"{batch.served:,}",
        "late": f"{batch.late:,}",
        "value": f"{batch.value:,.4f}",
        "bound": f"{batch.bound:,.4f}",
        "gap": f"{batch.gap:.4%}",
        "status": batch.status,
        "work": f"{batch.work:,} pairs",
    }.items():
        screen.add_row(name, text)
    return screen


def _certificate(said: Explanation) -> str:
    holds = (
        "certificate checked again without the solver: feasible, "
        f"value {said.certificate.value:,.4f}, bound {said.certificate.bound:,.4f}"
    )
    if said.batch.policy is Policy.GREEDY:
        return f"{holds};\nit and the prices are of a solve beside the sequential decisions"
    if said.batch.reserve is not None:
        paid = said.batch.value - said.certificate.value
        return (
            f"{holds};\nits values are net of the reserve prices, {paid:,.4f} for what was served"
        )
    return holds


def _resources(title: str, unit: str, resources: list[Resource]) -> Table:
    """Return the table of pools or budgets; shadow prices of the dearest are measured as well."""
    screen = _screen(
        title, "", "before>", "after>", f"one more {unit}>", "reserve price>", "measured>"
    )
    for r in resources:
        screen.add_row(
            r.name,
            f"{r.before:,.3f}",
            f"{r.after:,.3f}",
            f"{r.shadow_price:.4f}",
            f"{r.reserve_price:.4f}",
            "" if r.measured is None else f"{r.measured.bound:.4f}",
        )
    return screen


def _ties(said: Explanation) -> Table:
    screen = _screen(
        "closest choices", "request", "chosen", "next best", "difference>", "of value>"
    )
    for tie in said.ties:
        screen.add_row(
            tie.request_id,
            tie.chosen,
            tie.next_best,
            f"{tie.difference:.2g}",
            f"{tie.share * 100:.2g} %",
        )
    return screen


def _refusals(said: Explanation) -> Table:
    screen = _screen("refused", "reason", "remedy", "requests>")
    for r in said.refusals:
        screen.add_row(r.reason, "", f"{r.requests:,}")
        for remedy, count in r.remedies:
            screen.add_row("", remedy or "no single change", f"{count:,}")
    return screen


def _moment(us: int) -> str | None:
    """Return microseconds since the epoch as RFC 3339; None before every window."""
    if us <= NO_WINDOW:
        return None
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
    return moment.isoformat().replace("+00:00", "Z")
