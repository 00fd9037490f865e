"""Judge policies over whole windows that are decided batch by batch, against hindsight.

    python -m benchmarks.horizons --families steady,late,burst --loads 1.2 --pools 64 --seeds 3

Seeded request logs of a few windows of about 10,000 requests, decided as they come, about 100 at a
time. Each family is a way in which a window's second half may not be what the first one promised.
Printed is the share of the whole window's bound (`aurora_batch.hindsight`) that each contestant
reaches: `greedy`, `batch_only` (each batch to its own optimum) and `global` (as configured, with
look-ahead); on request also `by_price`, which is greedy by listed price alone. Settings, such as
those of the look-ahead, are changed with `--set`; `--chart` draws the shares over the loads.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from msgspec.structs import replace
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from aurora_batch import router, workload
from aurora_batch.fleet import Fleet, fleet_from_settings
from aurora_batch.hindsight import Hindsight, Judged
from aurora_batch.model import Policy
from aurora_batch.settings import BatchSettings, ProviderSettings, Settings, Weights
from benchmarks.families import FAMILIES, TENTHS, Family
from pipelines import cli_options
from pipelines.batches import Batches
from pipelines.contestants import BATCH_ONLY, BOTH, GLOBAL, GREEDY, Contestant, contestants

F64 = NDArray[np.float64]

GPUS = ("a100", "h100", "4090", "a6000", "t4")
PRICE = (2.0, 3.4, 0.9, 1.1, 0.4)
REGIONS = ("eu-west-1", "us-west-2", "us-east-1")
WINDOW_US = 60_000_000
PER_WINDOW = 10_000
SETTINGS = Settings()
BY_PRICE = "by_price"  # what peers do: request by request, the cheapest offer with room
NAMES = (GREEDY, BATCH_ONLY, GLOBAL)
DRAWN = ("steady", "late", "down", "burst", "stops")  # where a chart is asked for


@dataclass(frozen=True)
class Horizon:
    """A log, what is for sale, and how it is cut into batches."""

    family: Family
    requests: pa.Table  # schema.REQUEST_SCHEMA, by event time
    fleet: Fleet
    settings: Settings


def horizon(
    name: str,
    load: float,
    pools: int = 64,
    seed: int = 0,
    *,
    settings: Settings = SETTINGS,
    per_window: int = PER_WINDOW,
    picky: float = 0.0,
    flexible: float = 0.0,
) -> Horizon:
    """Return a family's log for a fleet of `pools` offers, each a pool of its own.

    The mean window, without one at whose end demand stops, wants `load` x the fleet's capacity.
    Of the requests, a share `picky` limits latency and reputation, too, and a share `flexible` runs
    on any GPU, anywhere, at any price.
    """
    family = FAMILIES[name]
    rng = np.random.default_rng([seed, pools, list(FAMILIES).index(name)])
    rate = np.array([family.shape(w, family.windows, rng) for w in range(family.windows)])
    counts = rng.poisson(rate * per_window / TENTHS).ravel()
    tenth = np.repeat(np.arange(counts.size), counts)
    at = tenth + rng.random(tenth.size)
    at.sort()
    hours = rng.lognormal(0.0, 0.8, at.size)
    hours[at % TENTHS >= TENTHS // 2] *= family.bigger
    normal = family.windows + min(family.judged, 0)  # windows that set the mean
    mean = float(hours[at < normal * TENTHS].sum()) / normal
    capacity = mean / (load if family.load is None else family.load)
    providers = _providers(pools, capacity, np.random.default_rng([seed, pools]))
    log = _requests(at, hours, picky, flexible, rng)
    return Horizon(family, log, fleet_from_settings(providers), _settings(family, settings))


def _providers(m: int, capacity: float, rng: np.random.Generator) -> dict[str, ProviderSettings]:
    gpu = rng.permutation(m) % len(GPUS)
    share = rng.dirichlet(np.full(m, 4.0))
    return {
        f"market-{i}": ProviderSettings(
            base_price_usd_per_hour={
                GPUS[gpu[i]]: round(PRICE[gpu[i]] * float(rng.uniform(0.7, 1.5)), 3)
            },
            base_latency_ms=round(float(rng.uniform(80, 500)), 1),
            capacity_gpu_hours_per_step=float(capacity * share[i]),
            reputation=round(float(rng.uniform(40, 98)), 1),
            regions=["global"]
            if rng.random() < 0.1
            else rng.choice(REGIONS, rng.integers(1, 3), replace=False).tolist(),
        )
        for i in range(m)
    }


def _requests(
    at: F64, hours: F64, picky: float, flexible: float, rng: np.random.Generator
) -> pa.Table:
    """One GPU type or, one in five, any of two; anywhere one in three; some limits."""
    n, kinds = at.size, len(GPUS)
    gpu = rng.integers(0, kinds, (n, 2))
    gpu[:, 1] = np.where(rng.random(n) < 0.2, gpu[:, 1], gpu[:, 0])
    both = ["|".join(sorted({a, b})) for a in GPUS for b in GPUS]
    place = np.where(rng.random(n) < 1 / 3, len(REGIONS), rng.integers(0, len(REGIONS), n))
    limit = np.array(PRICE)[gpu.min(axis=1)] * rng.uniform(1.0, 2.0, n)
    free = rng.random(n) < 0.6
    priority = rng.choice([1.0, 2.0, 4.0], n, p=[0.6, 0.3, 0.1])
    unsaid = rng.random(n) >= picky
    anything = rng.random(n) < flexible
    both.append("|".join(sorted(GPUS)))
    wanted = np.where(anything, len(both) - 1, gpu[:, 0] * kinds + gpu[:, 1])
    return workload.table(
        int(workload.START.timestamp() * 1e6) + (at * (WINDOW_US / TENTHS)).astype(np.int64),
        workload_type=pa.repeat("general", n),
        gpu_type=workload.words(both, wanted),
        region=workload.words([*REGIONS, "global"], np.where(anything, len(REGIONS), place)),
        gpu_hours=pa.array(hours),
        max_price=pa.array(limit, mask=free | anything),
        max_latency_ms=pa.array(rng.uniform(150.0, 500.0, n), mask=unsaid),
        min_reputation=pa.array(rng.uniform(40.0, 80.0, n), mask=unsaid),
        priority=pa.array(priority),
    )


def _settings(family: Family, settings: Settings) -> Settings:
    changed = replace(
        settings.router,
        window_s=WINDOW_US / 1e6,
        batch=BatchSettings(max_requests=family.batch, linger_ms=WINDOW_US / TENTHS / 1e3),
        alternatives=0,  # of no use here, and they take time
    )
    return replace(settings, router=changed)


def judge(h: Horizon, names: Sequence[str] = NAMES) -> Iterator[Judged]:
    """Decide a log by the contestants of these names, as it comes; yield the windows."""
    known = [*contestants(BOTH, h.settings, as_live=True), _by_price(h.settings)]
    playing = sorted((c for c in known if c.name in names), key=lambda c: names.index(c.name))
    states = [router.initial_state(h.fleet, c.settings) for c in playing]
    whole = Hindsight(h.fleet, h.settings)
    batches = Batches(h.settings, as_live=True)
    for cut in (batches.add(h.requests, np.arange(h.requests.num_rows)), batches.finish()):
        for batch in cut:
            steps = [
                router.step(batch.requests, h.fleet, state, c.settings, policy=c.policy)
                for c, state in zip(playing, states, strict=True)
            ]
            states = [step.state for step in steps]
            window_us = steps[0].batch.window_us
            ended = whole.add(window_us, batch.requests, [step.offer for step in steps])
            if ended is not None:
                yield ended
    last = whole.finish()
    if last is not None:
        yield last


def _by_price(settings: Settings) -> Contestant:
    alone = Weights(price=1.0, latency=0.0, reputation=0.0, availability=0.0)
    changed = replace(settings, router=replace(settings.router, weights=alone))
    return Contestant(BY_PRICE, Policy.GREEDY, changed)


def shares(h: Horizon, names: Sequence[str] = NAMES) -> F64:
    """Share of the bound that each contestant reaches, mean over the windows that count."""
    windows = list(judge(h, names))[h.family.judged :]
    return np.asarray(np.mean([np.array(w.values) / w.bound for w in windows], axis=0))


def rows(args: argparse.Namespace, done: Callable[[], None]) -> Iterator[dict[str, Any]]:
    """Yield the shares of each family, load and number of pools, mean over the seeds.

    `done` is called after each log.
    """
    settings = cli_options.load(args).settings
    objective = replace(settings.router.objective, weigh_by=args.weigh_by)
    settings = replace(settings, router=replace(settings.router, objective=objective))
    for pools, name, load in cases(args):
        got = []
        for seed in range(args.seeds):
            h = horizon(
                name, load, pools, seed, settings=settings, per_window=args.per_window,
                picky=args.picky, flexible=args.flexible,
            )  # fmt: skip
            got.append(shares(h, args.contestants))
            done()
        mean = dict(zip(args.contestants, np.mean(got, axis=0).tolist(), strict=True))
        yield {"pools": pools, "family": name, "load": load, **mean}


def cases(args: argparse.Namespace) -> list[tuple[int, str, float]]:
    """Return pools, family and load of each row."""
    fixed = {name: FAMILIES[name].load for name in args.families}
    return [
        (pools, name, load)
        for pools in args.pools
        for name, own in fixed.items()
        for load in (args.loads if own is None else [own])
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Print a table as it grows, or one JSON object; draw them where that is asked for."""
    args = _arguments(argv)
    out = Console(highlight=False, soft_wrap=True)
    if not args.json:
        out.print(f"share of the hindsight bound, {args.seeds} seeds, by {args.weigh_by}")
        head = "".join(f"{name:>12}" for name in args.contestants)
        out.print(f"{'pools':>5} {'family':<8}{'load':>5}{head}")
    found = []
    with _progress(len(cases(args)) * args.seeds, args.quiet) as done:
        for row in rows(args, done):
            found.append(row)
            if not args.json:
                cells = "".join(f"{row[name]:>12.2%}" for name in args.contestants)
                out.print(f"{row['pools']:>5} {row['family']:<8}{row['load']:>5}{cells}")
    if args.json:
        said = {"seeds": args.seeds, "weigh_by": args.weigh_by}
        sys.stdout.write(json.dumps(said | {"rows": found}) + "\n")
    if args.chart is not None:
        from benchmarks import horizons_chart  # needs matplotlib, which the rest does not

        horizons_chart.draw(found, args.contestants, args.weigh_by, args.chart)
        if not args.quiet:
            Console(stderr=True, highlight=False).print(f"written: {args.chart}")
    return 0


@contextmanager
def _progress(logs: int, quiet: bool) -> Iterator[Callable[[], None]]:
    """Show a bar on a terminal; a table that goes elsewhere passes it by."""
    bar = Progress(
        TextColumn("deciding"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        console=Console(stderr=True), transient=True, redirect_stdout=sys.stdout.isatty(),
        disable=quiet or not sys.stderr.isatty(),
    )  # fmt: skip
    with bar:
        task = bar.add_task("", total=logs)
        yield lambda: bar.advance(task)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.horizons", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument(
        "--families", type=_several(str), metavar="A,B",
        help=f"default: all of {', '.join(FAMILIES)}; with --chart {', '.join(DRAWN)}",
    )  # fmt: skip
    parser.add_argument("--loads", type=_several(float), default=[0.8, 1.2, 2.0], metavar="A,B")
    parser.add_argument("--pools", type=_several(int), default=[64, 7], metavar="A,B")
    parser.add_argument("--contestants", type=_several(str), default=list(NAMES), metavar="A,B")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="how many")
    parser.add_argument(
        "--per-window", type=int, default=PER_WINDOW, metavar="N",
        help=f"requests in a window of even demand (default: {PER_WINDOW:,})",
    )  # fmt: skip
    parser.add_argument(
        "--picky", type=float, default=0.0, metavar="SHARE",
        help="of the requests, that limit latency and reputation as well (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--flexible", type=float, default=0.0, metavar="SHARE",
        help="of the requests, that run on any GPU type, anywhere, at any price (default: 0)",
    )  # fmt: skip
    parser.add_argument("--weigh-by", choices=["request", "gpu_hours"], default="request")
    parser.add_argument("--chart", type=Path, metavar="PNG", help="draw shares over loads as well")
    cli_options.common(parser)
    args = parser.parse_args(argv)
    args.families = args.families or list(DRAWN if args.chart else FAMILIES)
    for said, known in ((args.families, FAMILIES), (args.contestants, (*NAMES, BY_PRICE))):
        if unknown := set(said) - set(known):
            parser.error(f"expected some of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    for option, share in (("--picky", args.picky), ("--flexible", args.flexible)):
        if not 0.0 <= share <= 1.0:
            parser.error(f"{option} {share}: expected a share from 0 to 1")
    for option, number in (("--seeds", args.seeds), ("--per-window", args.per_window)):
        if number < 1:
            parser.error(f"{option} {number}: expected a number >= 1")
    return args


def _several(kind: Callable[[str], Any]) -> Callable[[str], list[Any]]:
    return lambda text: [kind(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
