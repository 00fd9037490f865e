"""Many runs, for means with intervals; and many runs in search of the most harmful change."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from math import isfinite
from typing import Any

import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aurora_batch.adapters.outputs import replacing
from aurora_batch.errors import UsageError
from aurora_batch.fleet import fleet_from_settings
from aurora_batch.wargame import scenario
from aurora_batch.wargame.events import Event
from aurora_batch.wargame.game import Plan
from aurora_batch.wargame.search import GENERATION, Found
from aurora_batch.wargame.search import search as search_for
from aurora_batch.warm_up import warm_up
from pipelines.contestants import BOTH, GLOBAL
from pipelines.wargame import outputs, tables
from pipelines.wargame.runs import Interval, comparison, hurt, screen, workers
from pipelines.wargame.runs import many as play_many

HURTS = ("value", "fill", "regret")


def many(args: argparse.Namespace, plan: Plan) -> int:
    """Play a run for each seed; write `runs.csv` and tell means and intervals."""
    plans = [_seeded(args, plan, plan.seed + number) for number in range(args.runs)]
    outputs.make_folder(args.out)
    _compile(plan)
    with workers(len(plans)) as spread, _bar(args, "runs", len(plans)) as tick:
        table = play_many(plans, args.policy, spread, tick)
    tables.write(table, args.out / "runs.csv")
    found = comparison(table)
    if args.json:
        intervals = {
            who: {name: _finite(about) for name, about in of.items()} for who, of in found.items()
        }
        said = {"runs": args.runs, "load": plan.load, "steps": plan.steps}
        sys.stdout.write(json.dumps(said | {"intervals": intervals}) + "\n")
    elif not args.quiet:
        title = f"{args.runs} runs of {plan.steps} steps, load x{plan.load:g}"
        Console().print(screen(title, found))
        Console().print(f"written: {args.out / 'runs.csv'}", highlight=False, soft_wrap=True)
    return 0


def search(args: argparse.Namespace, plan: Plan) -> int:
    """Search for the most harmful change of one event; write the scenario that has it."""
    if not plan.events:
        raise UsageError("--search: the scenario has no event to change; expected one at least")
    said = GLOBAL if args.policy == BOTH else args.policy
    outputs.make_folder(args.out)
    _compile(plan)
    targets = scenario.targets(plan.settings)
    with workers(GENERATION) as spread, _bar(args, "runs", args.budget) as tick:

        def score(scenarios: Sequence[tuple[Event, ...]]) -> Iterable[float]:
            for found in spread(partial(hurt, plan, said, args.hurt), scenarios):
                tick()
                yield found

        found = search_for(
            plan.events, targets, score, steps=plan.steps, budget=args.budget, seed=plan.seed
        )
    path = args.out / "worst_scenario.yaml"
    with replacing(path) as partly:
        text = yaml.safe_dump(scenario.to_document(found.events), sort_keys=False)
        partly.write_text(text, encoding="utf-8")
    if args.json:
        sys.stdout.write(json.dumps(_to_dict(found, plan, said, args.hurt)) + "\n")
    elif not args.quiet:
        Console().print(_said(found, plan, said, args.hurt), highlight=False, soft_wrap=True)
        Console().print(f"written: {path}", highlight=False, soft_wrap=True)
    return 0


def _finite(about: Interval) -> dict[str, float | None]:
    """Return an interval for JSON, which knows no infinity."""
    return {name: x if isfinite(x) else None for name, x in about._asdict().items()}


def _seeded(args: argparse.Namespace, plan: Plan, seed: int) -> Plan:
    """Return the plan with another seed, which draws the scenario's chances anew."""
    events = scenario.load(args.scenario, plan.settings, steps=plan.steps, seed=seed)
    return replace(plan, seed=seed, events=events)


def _compile(plan: Plan) -> None:
    """Fill Numba's cache once, before every worker would do it for itself."""
    warm_up(fleet_from_settings(plan.settings.providers), plan.settings)


def _to_dict(found: Found, plan: Plan, said: str, by: str) -> dict[str, Any]:
    before, after = _change(found, plan)
    sign = -1.0 if by == "regret" else 1.0
    return {
        "policy": said, "hurt": by, "runs": found.runs,
        "before": sign * found.base_score, "after": sign * found.score,
        "event": before and before.label, "changed_to": after and after.label,
        "from_step": before and before.step, "to_step": after and after.step,
    }  # fmt: skip


def _said(found: Found, plan: Plan, said: str, by: str) -> str:
    before, after = _change(found, plan)
    sign = -1.0 if by == "regret" else 1.0
    if before is None or after is None:
        return f"{found.runs} runs: no change of one event hurts {said} more"
    what = {"value": "value per request", "fill": "fill rate", "regret": "regret"}[by]
    return (
        f"{found.runs} runs; {said}'s {what} goes from {sign * found.base_score:.4f} to "
        f"{sign * found.score:.4f} where '{before.label}' at step {before.step} becomes "
        f"'{after.label}' at step {after.step}"
    )


def _change(found: Found, plan: Plan) -> tuple[Event | None, Event | None]:
    if found.number is None:
        return None, None
    return plan.events[found.number], found.events[found.number]


@contextmanager
def _bar(args: argparse.Namespace, what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how many runs are done; give what to call after each."""
    bar = Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True,
        disable=args.quiet or not sys.stderr.isatty(),
    )  # fmt: skip
    with bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
