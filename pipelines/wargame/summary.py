"""The figures of a run: on the screen and as one object."""

from math import isfinite
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from aurora_batch.wargame.yardstick import regret
from pipelines.wargame.account import Account, Run
from pipelines.wargame.slo import cost_table, slo_table


def to_dict(run: Run) -> dict[str, Any]:
    """Return the object of `--json`."""
    plan = run.plan
    return {
        "steps": plan.steps,
        "seed": plan.seed,
        "load": plan.load,
        "asked_of_capacity": run.asked if isfinite(run.asked) else None,
        "requests": max((int((a.total).sum()) for a in run.accounts), default=0),
        "optimum": {"value": run.whole.value, "bound": run.whole.bound},
        "policies": {a.name: figures(a, run) for a in run.accounts},
        "events": cost_table(run.costs).to_pylist(),
        "providers": slo_table(run).to_pylist(),
    }


def figures(a: Account, run: Run) -> dict[str, float]:
    """Return one player's figures over the run."""
    value, routed = float(a.value.sum()), int(a.routed.sum())
    return {
        "routed": routed,
        "dropped": int(a.dropped.sum()),
        "fill_rate": a.fill_rate,
        "cost_usd": float(a.cost_usd.sum()),
        "mean_cost_usd_per_request": float(a.cost_usd.sum()) / routed if routed else 0.0,
        "mean_latency_ms": float(a.latency_ms.sum()) / routed if routed else 0.0,
        "credits_minted": float(a.minted.sum()),
        "credits_burned": float(a.burned.sum()),
        "value": value,
        "bound": run.whole.bound,
        "gap": regret(value, run.whole.bound),
        "regret": regret(value, run.whole.value),
    }


_LINES = {
    "routed": "{:,}",
    "dropped": "{:,}",
    "fill_rate": "{:.2%}",
    "cost_usd": "{:,.2f}",
    "mean_cost_usd_per_request": "{:.3f}",
    "mean_latency_ms": "{:.1f}",
    "credits_minted": "{:,.1f}",
    "credits_burned": "{:,.1f}",
    "value": "{:,.1f}",
    "regret": "{:.3%}",
    "gap": "{:.3%}",
}


def lines(run: Run) -> list[tuple[str, list[str]]]:
    """Return (name, text of each player) of each figure, the clairvoyant last."""
    columns = [figures(a, run) for a in run.accounts]
    best = run.whole
    clairvoyant = {"value": best.value, "regret": 0.0, "gap": regret(best.value, best.bound)}
    found = []
    for name, form in _LINES.items():
        texts = [form.format(column[name]) for column in columns]
        texts.append(form.format(clairvoyant[name]) if name in clairvoyant else "")
        found.append((name.replace("_", " "), texts))
    return found


def screen(run: Run) -> Table:
    """Return the figures of the players side by side, and the clairvoyant's."""
    plan = run.plan
    title = f"war game: {plan.steps} steps, seed {plan.seed}, load x{plan.load:.4g}"
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("")
    for name in [*(a.name for a in run.accounts), "clairvoyant"]:
        table.add_column(name, justify="right")
    for name, texts in lines(run):
        table.add_row(name, *texts)
    return table
