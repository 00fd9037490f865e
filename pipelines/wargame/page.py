"""A run as one HTML page: figures, events and charts, nothing loaded from elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from html import escape

from aurora_batch.errors import UsageError
from aurora_batch.wargame.events import Event
from aurora_batch.wargame.game import Plan
from pipelines.wargame.account import Run
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


def charts() -> Callable[[Run, Sequence[Event]], dict[str, bytes]]:
    """Return what draws all charts, by file name; raises `UsageError` without matplotlib."""
    try:
        from pipelines.wargame.charts import CHARTS
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "matplotlib":
            hint = "the charts need matplotlib: pip install 'aurora-batch[report]'"
            raise UsageError(hint) from None
        raise
    return lambda run, events: {name: draw(run, events) for name, draw in CHARTS.items()}


def html(plan: Plan, run: Run, images: Mapping[str, bytes]) -> str:
    """Return the page."""
    parts = [
        "<h1>War game</h1>",
        f"<p>{plan.steps} steps, seed {plan.seed}, load x{plan.load:g}, {plan.arrivals} "
        f"batch{'es' * (plan.arrivals > 1)} a step"
        f"{f', patience {plan.patience} steps' if plan.patience else ''}.</p>",
        _figures(run),
        "<div class=charts>",
        *(figure(TITLES[name], image) for name, image in images.items()),
        "</div>",
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
