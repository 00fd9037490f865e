"""Many runs over seeds on all cores, with intervals of confidence; and the search's runs."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from multiprocessing import get_context
from os import cpu_count
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from rich.box import SIMPLE_HEAD
from rich.table import Table
from scipy import stats

from aurora_batch.wargame.events import Event
from aurora_batch.wargame.game import Game, Plan
from pipelines.contestants import GLOBAL, GREEDY
from pipelines.wargame.account import Account
from pipelines.wargame.play import played, players
from pipelines.wargame.summary import figures

F64 = NDArray[np.float64]
FIGURES = (
    "fill_rate", "regret", "gap", "value", "mean_cost_usd_per_request", "mean_latency_ms", "dropped"
)  # fmt: skip
LOSSES = "regret to gap"
CONFIDENCE = 0.95
RESAMPLES = 10_000


class Interval(NamedTuple):
    """A mean over seeds, and where the true one lies with a confidence of 95 %."""

    mean: float
    low: float
    high: float


@contextmanager
def workers(tasks: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """Give a `map` over processes, at most one a core; results come in the order of tasks."""
    most = min(tasks, cpu_count() or 1)
    if most == 1:
        yield map
        return
    # Spawned, because Arrow's and Numba's threads do not survive a fork.
    with ProcessPoolExecutor(most, mp_context=get_context("spawn")) as pool:
        try:
            yield pool.map
        except BaseException:  # an interrupt too: what has not begun need not be played
            pool.shutdown(cancel_futures=True)
            raise


def one(plan: Plan, said: str) -> dict[str, dict[str, float]]:
    """Play one run; return each player's figures."""
    run = played(Game(plan, players(said, plan.settings, arrivals=plan.arrivals)), costs=False)
    return {account.name: figures(account, run) for account in run.accounts}


def many(
    plans: Sequence[Plan], said: str, spread: Callable[..., Iterable[Any]],
    watch: Callable[[], None] = lambda: None,
) -> pa.Table:  # fmt: skip
    """Play all plans; return a row for each run and player: seed, policy, `FIGURES`."""
    rows = []
    for plan, found in zip(plans, spread(partial(one, said=said), plans), strict=True):
        for name, of in found.items():
            rows.append({"seed": plan.seed, "policy": name} | {f: of[f] for f in FIGURES})
        watch()
    return pa.Table.from_pylist(rows)


def interval(values: F64) -> Interval:
    """Return the mean of independent runs with Student's interval; that of one run is itself."""
    mean = float(values.mean())
    if values.size < 2:
        return Interval(mean, mean, mean)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, values.size - 1) * stats.sem(values))
    return Interval(mean, mean - half, mean + half)


def ratio(over: F64, under: F64, seed: int = 0) -> Interval:
    """Return mean(over) / mean(under) of paired runs, with a bootstrap interval.

    Infinite where nothing is below the line, NaN where nothing is above it either.
    """
    pick = np.random.default_rng(seed).integers(over.size, size=(RESAMPLES, over.size))
    sides = (1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = over[pick].mean(axis=1) / under[pick].mean(axis=1)
        mean = float(over.mean() / np.float64(under.mean()))
        low, high = np.quantile(ratios, sides, method="nearest").tolist()
    return Interval(mean, low, high)


def comparison(table: pa.Table) -> dict[str, Any]:
    """Return the intervals of each player's figures, and of greedy beside global, in pairs."""
    by_policy = {
        name: table.filter(pa.compute.equal(table["policy"], name))
        for name in dict.fromkeys(table["policy"].to_pylist())
    }
    found: dict[str, Any] = {
        name: {f: interval(rows[f].to_numpy().astype(np.float64)) for f in FIGURES}
        for name, rows in by_policy.items()
    }
    if {GREEDY, GLOBAL} <= by_policy.keys():
        one_, other = (by_policy[name] for name in (GLOBAL, GREEDY))
        fill = one_["fill_rate"].to_numpy() - other["fill_rate"].to_numpy()
        found["global - greedy"] = {"fill_rate": interval(fill)}
        # At least so many times: `global` may have lost less than its bound proves.
        lost = ratio(other["regret"].to_numpy(), one_["gap"].to_numpy())
        found["greedy / global"] = {LOSSES: lost}
    return found


def screen(title: str, found: dict[str, Any]) -> Table:
    """Return the intervals as a table."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    for name in ("", "figure", "mean", "95 % interval"):
        table.add_column(name, justify="left" if name in ("", "figure") else "right", no_wrap=True)
    for who, of in found.items():
        for figure, about in of.items():
            form = _form(who, figure)
            ends = f"{form.format(about.low)} to {form.format(about.high)}"
            table.add_row(
                who,
                figure.removesuffix("_usd_per_request").replace("_", " "),
                form.format(about.mean),
                ends,
            )
    return table


def _form(who: str, figure: str) -> str:
    if who == "greedy / global":
        return "{:.1f} x"
    if figure == "fill_rate":
        return "{:.3%}"
    return "{:.4%}" if figure in ("regret", "gap") else "{:,.2f}"


def hurt(plan: Plan, said: str, by: str, events: tuple[Event, ...]) -> float:
    """Play one scenario of a search; return what the search makes small."""
    plan = replace(plan, events=events)
    game = Game(plan, players(said, plan.settings, arrivals=plan.arrivals))
    if by == "regret":
        run = played(game, costs=False)
        return -figures(run.accounts[-1], run)["regret"]
    positions, stages = game.start(), []
    for step in range(plan.steps):
        stage, positions = game.decided(step, positions)
        stages.append(stage)
    account = Account.of(game.players[-1].name, stages, game.base)
    asked = max(game.requests.num_rows, 1)
    return account.fill_rate if by == "fill" else float(account.value.sum()) / asked
