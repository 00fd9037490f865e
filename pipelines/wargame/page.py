"""A run as one HTML page: figures, events and charts, nothing loaded from elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from math import isnan

from aurora_batch.errors import UsageError
from pipelines.wargame.account import Run
from pipelines.wargame.slo import service_levels
from pipelines.wargame.summary import lines
from pipelines.web_page import document, figure

TITLES = {
    "chart_fill_rate.png": "Requests routed",
    "chart_avg_latency.png": "Latency",
    "chart_avg_cost.png": "Cost",
    "chart_capacity.png": "Capacity",
    "chart_dropped.png": "Dropped requests",
    "chart_regret.png": "Regret",
}


def charts() -> Callable[[Run], dict[str, bytes]]:
    """Return what draws all charts, by file name; raises `UsageError` without matplotlib."""
    try:
        from pipelines.wargame.charts import CHARTS
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "matplotlib":
            hint = "the charts need matplotlib: pip install 'aurora-batch[report]'"
            raise UsageError(hint) from None
        raise
    return lambda run: {name: draw(run) for name, draw in CHARTS.items()}


def html(run: Run, images: Mapping[str, bytes]) -> str:
    """Return the page."""
    plan = run.plan
    parts = [
        "<h1>War game</h1>",
        f"<p>{plan.steps} steps, seed {plan.seed}, load x{plan.load:g}, {plan.arrivals} "
        f"batch{'es' * (plan.arrivals > 1)} a step"
        f"{f', patience {plan.patience} steps' if plan.patience else ''}; asked for are "
        f"{run.asked:.1%} of all GPU-hours.</p>",
        _figures(run),
        "<div class=charts>",
        *(figure(TITLES[name], image) for name, image in images.items()),
        "</div>",
        *_events(run),
        *_providers(run),
    ]
    return document("War game", f"seed {plan.seed}", parts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return an HTML table of text cells."""
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    body = "\n".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table><tr>{top}</tr>\n{body}\n</table>"


def _figures(run: Run) -> str:
    head = ["", *(a.name for a in run.accounts), "clairvoyant"]
    return table(head, [[name, *texts] for name, texts in lines(run)])


def _events(run: Run) -> list[str]:
    if not run.costs:
        return []
    rows = [
        [
            cost.event.label, f"{cost.event.step} to {cost.event.end - 1}", cost.player,
            f"{cost.requests:,}", f"{cost.extra_usd:+,.2f}", f"{-100 * cost.fill_lost:+.2f}",
            f"{-cost.value:+,.1f}", f"{-cost.share:+.2%}",
        ]
        for cost in run.costs
    ]  # fmt: skip
    head = ["event", "steps", "policy", "requests", "USD", "fill, points", "value", "of the value"]
    return [
        "<h2>What each event changed</h2>",
        "<p>Its steps, decided once more as if the event had not been, all else alike. USD is what "
        "the requests that are routed either way cost more.</p>",
        table(head, rows),
    ]


def _providers(run: Run) -> list[str]:
    rows = [
        [
            level.provider, level.player, f"{level.uptime:.1%}", f"{level.outages}",
            "" if isnan(level.recovery_steps) else f"{level.recovery_steps:.1f}",
            f"{level.utilisation:.1%}", f"{level.events}", f"{level.value_lost_share:.2%}",
        ]
        for level in service_levels(run)
    ]  # fmt: skip
    head = [
        "provider", "policy", "uptime", "outages", "steps to recovery", "used", "events",
        "value lost per event",
    ]  # fmt: skip
    return ["<h2>Providers</h2>", table(head, rows)]
