"""`aurora wargame`: play a scenario by one policy or both, with a clairvoyant beside them."""

import argparse
import json
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console

from aurora_batch.errors import UsageError
from aurora_batch.model import Policy
from aurora_batch.wargame import scenario
from aurora_batch.wargame.demand import load_of
from aurora_batch.wargame.game import Game, Plan
from aurora_batch.warm_up import warm_up
from pipelines import cli_options
from pipelines.contestants import BOTH
from pipelines.wargame import campaign, live, outputs, page
from pipelines.wargame.play import played, players
from pipelines.wargame.summary import screen, to_dict

MOST, MOST_LOAD = 1_000_000, 10_000  # beyond, it is a slip of the finger


def register(subparsers: Any) -> None:
    """Add `aurora wargame`."""
    parser = subparsers.add_parser(
        "wargame",
        help="play outages and spikes, beside a clairvoyant",
        description=(
            "Tenants ask for GPU-hours step by step, events change fleet and demand, and one\n"
            "policy or both decide, by the engine of production. A clairvoyant plays beside them:\n"
            "regret is the share of its value that a policy lost."
        ),
        epilog=(
            "examples:\n"
            "  aurora wargame --steps 120 --seed 42 --policy both --out out/\n"
            "  aurora wargame --load 8 --scenario scenario.yaml --arrivals 4 --patience 2\n"
            "  aurora wargame --load 4 --runs 50\n"
            "  aurora wargame --load 8 --policy greedy --search --budget 200"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _options(parser)
    _campaign_options(parser)
    _metrics_options(parser)
    cli_options.common(parser)
    parser.set_defaults(run=run)


def _options(parser: Any) -> None:
    parser.add_argument("--steps", type=int, default=120, metavar="N", help="default: 120")
    parser.add_argument("--seed", type=int, default=42, metavar="N", help="default: 42")
    asked = parser.add_mutually_exclusive_group()
    asked.add_argument(
        "--load", type=float, default=1.0, metavar="X",
        help="times as many requests of every tenant (default: 1)",
    )  # fmt: skip
    asked.add_argument(
        "--demand", type=float, metavar="X",
        help="the load at which the GPU-hours asked for are X times what the pools of the GPU "
        "types asked for hold",
    )  # fmt: skip
    parser.add_argument("--policy", choices=[*Policy, BOTH], default=BOTH, help="default: both")
    parser.add_argument(
        "--scenario", type=Path, metavar="FILE", help="events (default: the documented five)"
    )
    parser.add_argument(
        "--arrivals", type=int, default=1, metavar="K",
        help="batches that a step's requests arrive in (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=int, default=0, metavar="N",
        help="steps that a refused request waits for another try (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="default: out/"
    )


def _campaign_options(parser: Any) -> None:
    many = parser.add_argument_group("many runs")
    many.add_argument(
        "--runs", type=int, metavar="N",
        help="play seeds --seed to --seed + N - 1 on all cores; means with 95 %% intervals",
    )  # fmt: skip
    many.add_argument(
        "--search", action="store_true",
        help="find the change of one event that hurts --policy most (both: global)",
    )  # fmt: skip
    many.add_argument(
        "--budget", type=int, default=100, metavar="N", help="runs of a search (default: 100)"
    )
    many.add_argument(
        "--hurt", choices=campaign.HURTS, default="value",
        help="what the search makes worst (default: value)",
    )  # fmt: skip


def _metrics_options(parser: Any) -> None:
    served = parser.add_argument_group("metrics")
    served.add_argument(
        "--metrics", type=int, nargs="?", const=live.PORT, metavar="PORT",
        help=f"serve Prometheus metrics on loopback (default port: {live.PORT})",
    )  # fmt: skip
    served.add_argument(
        "--pace", type=float, metavar="S",
        help="seconds from step to step (default: 1 with --metrics, else 0)",
    )  # fmt: skip
    served.add_argument(
        "--linger", type=float, metavar="S",
        help="with --metrics, seconds to serve after the last step (default: until interrupted)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """Play one run, many, or search for the scenario that hurts most."""
    plan = plan_of(args)
    if args.search:
        return campaign.search(args, plan)
    if args.runs is not None:
        return campaign.many(args, plan)
    return _one(args, plan)


def _one(args: argparse.Namespace, plan: Plan) -> int:
    """Play one run and write what became of it."""
    draw = page.charts()
    outputs.make_folder(args.out)
    game = Game(plan, players(args.policy, plan.settings, arrivals=plan.arrivals))
    warm_up(game.base, plan.settings)
    with live.watching(args, game) as watch:
        begun = perf_counter()
        done = played(game, watch=watch)
        seconds = perf_counter() - begun
        count = outputs.write(done, draw(done), args.out)
        if args.json:
            sys.stdout.write(json.dumps(to_dict(done) | {"seconds": seconds}) + "\n")
            sys.stdout.flush()
        elif not args.quiet:
            console = Console()
            console.print(screen(done))
            console.print(
                f"asked for: {done.asked:.1%} of all GPU-hours\n"
                f"{plan.steps} steps in {seconds:.2f} s; {count} files in {args.out}; "
                f"look at {args.out / 'report.html'}",
                highlight=False, soft_wrap=True,
            )  # fmt: skip
    return 0


def plan_of(args: argparse.Namespace) -> Plan:
    """Return what the options say; raises `UsageError` where they cannot mean anything."""
    _check(args)
    settings = cli_options.load(args).settings
    if not any(t.requests_per_step and t.mix for t in settings.tenants.values()):
        raise UsageError(
            "no tenant asks for anything; expected a tenant with requests_per_step and mix in "
            "workloads.yaml"
        )
    events = scenario.load(args.scenario, settings, steps=args.steps, seed=args.seed)
    load = args.load if args.demand is None else load_of(settings, args.demand)
    return Plan(settings, events, args.steps, args.seed, load, args.arrivals, args.patience)


def _check(args: argparse.Namespace) -> None:
    least = {"steps": 1, "seed": 0, "arrivals": 1, "patience": 0, "runs": 1, "budget": 1}
    for name, low in (least | {"pace": 0, "linger": 0, "metrics": 0}).items():
        said = getattr(args, name)
        if said is not None and not low <= said <= MOST:
            kind = "whole number" if name in least else "number"
            raise UsageError(f"--{name} {said:.10g}: expected a {kind} >= {low}, at most {MOST}")
    for name in ("load", "demand"):
        said = getattr(args, name)
        if said is not None and not 0 < said <= MOST_LOAD:
            raise UsageError(f"--{name} {said:g}: expected a number > 0, at most {MOST_LOAD}")
    if args.metrics is not None and args.metrics > 65_535:
        raise UsageError(f"--metrics {args.metrics}: expected a port, at most 65535")
    if args.search and args.runs is not None:
        raise UsageError("--search and --runs: expected one of the two")
