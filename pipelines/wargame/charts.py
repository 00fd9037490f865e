"""Charts of a run as PNG images; needs matplotlib (extra `report`)."""

from collections.abc import Callable, Sequence
from io import BytesIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from matplotlib.transforms import blended_transform_factory
from numpy.typing import NDArray

from aurora_batch.wargame.events import Event, Kind
from pipelines.charts import COLORS, DASHES, FAINT, INK, POOL_COLORS
from pipelines.wargame.account import Run, regrets
from pipelines.wargame.tables import ProviderStates

F64 = NDArray[np.float64]

EVENT_COLORS = {
    Kind.OUTAGE: "#c0392b",
    Kind.FLAPPING: "#c0392b",
    Kind.REGION_LOSS: "#8e2f4f",
    Kind.PRICE_SPIKE: "#b7791f",
    Kind.LATENCY_SPIKE: "#7a5cb0",
    Kind.CAPACITY_SURGE: "#3a9163",
    Kind.CAPACITY_LOSS: "#8a6d3b",
    Kind.REPUTATION_DROP: "#6b7280",
    Kind.DEMAND_SURGE: "#4aa3b8",
}
MOST_LABELS = 14


def fill_rate(run: Run) -> bytes:
    """Share of the requests routed in each step."""
    chart = Chart(run, "Fill rate", "requests routed")
    chart.lines([(a.name, a.fill) for a in run.accounts])
    low = min((float(a.fill.min()) for a in run.accounts if a.fill.size), default=1.0)
    chart.axes.set_ylim(min(0.9, low - 0.02), 1.005)
    chart.axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return chart.png()


def avg_latency(run: Run) -> bytes:
    """Mean latency of the routed requests of each step."""
    chart = Chart(run, "Latency of routed requests", "mean latency, ms")
    chart.lines([(a.name, a.mean_latency) for a in run.accounts])
    return chart.png()


def avg_cost(run: Run) -> bytes:
    """Mean cost of the routed requests of each step."""
    chart = Chart(run, "Cost of routed requests", "mean cost, USD per request")
    chart.lines([(a.name, a.mean_cost) for a in run.accounts])
    chart.axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.2f}"))
    return chart.png()


def capacity(run: Run) -> bytes:
    """What each provider sells in each step, one above the other, and what is used of it."""
    chart = Chart(run, "Capacity for sale and used", "GPU-hours per step")
    states = ProviderStates.of(run.stages, run.base)
    sold = np.where(states.active, states.capacity, 0.0)
    edges = np.arange(len(run.stages) + 1) - 0.5
    below = np.zeros(len(run.stages))
    for index, provider in enumerate(run.base.provider_ids):
        above = below + sold[:, index]
        color = POOL_COLORS[index % len(POOL_COLORS)]
        chart.axes.stairs(
            above,
            edges,
            baseline=below,
            fill=True,
            color=_pale(color),
            lw=0,
            label=provider,
            zorder=0.8,
        )
        below = above
    chart.lines([(f"used by {a.name}", a.gpu_hours) for a in run.accounts])
    chart.axes.set_ylim(0, float(below.max(initial=1.0)) * 1.04)
    return chart.png()


def dropped(run: Run) -> bytes:
    """Requests refused for good, added up from the first step on."""
    chart = Chart(run, "Dropped requests so far", "requests dropped, cumulative")
    chart.lines([(a.name, np.cumsum(a.dropped).astype(np.float64)) for a in run.accounts])
    chart.axes.set_ylim(bottom=0)
    chart.axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    return chart.png()


def regret(run: Run) -> bytes:
    """Value lost to the clairvoyant in each step."""
    chart = Chart(run, "Regret: value lost to the clairvoyant", "of the step's optimum")
    lost = [(a.name, np.maximum(regrets(a.value, a.optimum), 0.0)) for a in run.accounts]
    chart.lines(lost)
    top = max((float(y.max(initial=0.0)) for _, y in lost), default=0.0)
    chart.axes.set_ylim(-0.02 * (top or 0.01), 1.08 * (top or 0.01))
    decimals = 0 if top > 0.1 else 1 if top > 0.01 else 2
    chart.axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=decimals))
    return chart.png()


CHARTS: dict[str, Callable[[Run], bytes]] = {
    "chart_fill_rate.png": fill_rate,
    "chart_avg_latency.png": avg_latency,
    "chart_avg_cost.png": avg_cost,
    "chart_capacity.png": capacity,
    "chart_dropped.png": dropped,
    "chart_regret.png": regret,
}


class Chart:
    """Steps from left to right, with the events as shades, labelled above the frame."""

    def __init__(self, run: Run, title: str, y_label: str) -> None:
        self._steps = np.array([stage.step for stage in run.stages])
        within = (e for e in run.plan.events if e.step < len(self._steps))
        shown = sorted(within, key=lambda e: e.step)
        rows = rows_of(shown[:MOST_LABELS], len(self._steps))
        self._canvas = Canvas(
            figsize=(9.0, 3.6 + 0.17 * max(rows, default=0)), layout="constrained"
        )
        self.axes = self._canvas.add_subplot()
        _dress(self.axes)
        self.axes.set_xlim(-0.5, max(len(self._steps) - 0.5, 0.5))
        self.axes.set_xlabel("step", color=INK, fontsize=9)
        self.axes.set_ylabel(y_label, color=INK, fontsize=9)
        # The title stands above the rows of labels: 13 points each.
        pad = 8 + 13 * (max(rows, default=-1) + 1)
        self.axes.set_title(title, loc="left", color=INK, fontsize=11, weight="bold", pad=pad)
        about = f"seed {run.plan.seed}, load x{run.plan.load:.3g}"
        self.axes.set_title(
            about, loc="right", color=EVENT_COLORS[Kind.REPUTATION_DROP], fontsize=9, pad=pad
        )
        for number, event in enumerate(shown):
            row = rows[number] if number < len(rows) else None
            self._mark(event, row)

    def lines(self, series: Sequence[tuple[str, F64]]) -> None:
        """Draw a line for each player; NaN is a hole."""
        for at, (name, y) in enumerate(series):
            player = name.removeprefix("used by ")
            # The first lies below and is broad, so that it shows where the others cover it.
            broad = 2.8 if at == 0 and len(series) > 1 else 1.4
            self.axes.plot(
                self._steps, y, color=COLORS[player], lw=broad, ls=DASHES.get(player) or "-",
                label=name, zorder=3, alpha=0.75 if broad > 2 else 1.0, solid_capstyle="butt",
            )  # fmt: skip

    def png(self) -> bytes:
        """Return the image, with a legend below the frame; the same run, the same bytes."""
        handles, labels = self.axes.get_legend_handles_labels()
        self._canvas.legend(
            handles, labels, loc="outside lower center", ncols=min(len(labels), 6), frameon=False,
            fontsize=9, labelcolor=INK,
        )  # fmt: skip
        image = BytesIO()
        self._canvas.savefig(image, format="png", dpi=130, metadata={"Software": None})
        return image.getvalue()

    def _mark(self, event: Event, row: int | None) -> None:
        color, last = EVENT_COLORS[event.kind], len(self._steps)
        low, high = event.step - 0.5, min(event.end, last) - 0.5
        self.axes.axvspan(low, high, color=color, alpha=0.10, lw=0, zorder=0.5)
        self.axes.axvline(low, color=color, alpha=0.6, lw=0.8, zorder=0.9)
        if row is None:
            return
        late = _is_late(event, last)
        where = blended_transform_factory(self.axes.transData, self.axes.transAxes)
        self.axes.annotate(
            event.label, (high if late else low, 1.0), xycoords=where,
            xytext=(0, 3 + 13 * row), textcoords="offset points", ha="right" if late else "left",
            va="bottom", fontsize=8, color=color, annotation_clip=False,
        )  # fmt: skip


def rows_of(events: Sequence[Event], steps: int) -> list[int]:
    """Return a row for each event's label, so that none covers another."""
    taken: list[tuple[int, float, float]] = []  # row, and from where to where on the scale
    for event in events:
        low, high = _extent(event, steps)
        rows = {row for row, start, end in taken if low < end and start < high}
        row = next(row for row in range(len(taken) + 1) if row not in rows)
        taken.append((row, low, high))
    return [row for row, _, _ in taken]


def _extent(event: Event, steps: int) -> tuple[float, float]:
    """Return the steps above which an event's label stands: to the right, or left if it is late."""
    width = (1.3 * len(event.label) + 2) * steps / 120  # measured on a chart of 120 steps
    if _is_late(event, steps):
        end = min(event.end, steps) - 0.5
        return end - width, end
    return event.step - 0.5, event.step - 0.5 + width


def _is_late(event: Event, steps: int) -> bool:
    """Whether the words would leave the frame on the right."""
    return event.step > 0.8 * steps


def _pale(color: str) -> tuple[float, ...]:
    """Return a color mixed with white, so that lines and marks stand out on it."""
    return tuple(0.5 + 0.5 * part for part in to_rgb(color))


def _dress(axes: Axes) -> None:
    axes.grid(color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.xaxis.set_major_locator(MaxNLocator(12, integer=True, steps=[1, 2, 5, 10]))
