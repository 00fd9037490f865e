"""Charts of a replay as PNG images; needs matplotlib (extra `report`)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from aurora_batch.hindsight import regret
from aurora_batch.model import Reason
from pipelines.contestants import BATCH_ONLY, GLOBAL, GREEDY
from pipelines.figures import Figures, gap

F64 = NDArray[np.float64]
ByName = Mapping[str, Figures]

COLORS = {GREEDY: "#d98032", BATCH_ONLY: "#3a9163", GLOBAL: "#2563a8"}
DASHES = {BATCH_ONLY: (0, (2, 1.5))}  # drawn on top, and what it covers can be seen
INK, FAINT = "#2b2f36", "#d9dde3"
POOL_COLORS = (
    "#2563a8",
    "#d98032",
    "#3a9163",
    "#b5446e",
    "#7a5cb0",
    "#8a6d3b",
    "#4aa3b8",
    "#6b7280",
)
MOST_POINTS = 400  # windows drawn; more are averaged in groups
MOST_BARS = 14


def fill(figures: ByName) -> bytes:
    """Share of the requests routed in each window."""
    canvas, axes = _canvas()
    for name, f in figures.items():
        shares = [w.routed / max(w.requests, 1) for w in f.windows.values()]
        _line(axes, shares, name)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(top=min(1.02, axes.get_ylim()[1] + 0.02))
    return _png(canvas, axes, "window", "requests routed", len(figures) > 1)


def value(figures: ByName) -> bytes:
    """Value of each window, and the bound that none can exceed."""
    canvas, axes = _canvas()
    last = list(figures.values())[-1]
    judged = all(f.judged for f in figures.values())
    for name, f in figures.items():
        values = [w.value_in_window if judged else w.value for w in f.windows.values()]
        _line(axes, values, name)
    bounds = [w.hindsight_bound if judged else w.bound for w in last.windows.values()]
    x, bound = _thin(bounds)
    axes.plot(x, bound, color=INK, lw=1, ls=(0, (3, 3)), label="bound")
    _from_zero(axes)
    axes.yaxis.set_major_formatter(_THOUSANDS)
    return _png(canvas, axes, "window", "value", legend=True)


def gaps(figures: ByName) -> bytes:
    """Distance of each window's value from its bound."""
    canvas, axes = _canvas()
    for name, f in figures.items():
        _line(axes, [max(gap(w.value, w.bound), 0.0) for w in f.windows.values()], name)
    _from_zero(axes)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return _png(canvas, axes, "window", "gap to the bound", len(figures) > 1)


def regrets(figures: ByName) -> bytes:
    """Distance of each window's value from what it could have been, known in advance."""
    canvas, axes = _canvas()
    for name, f in figures.items():
        windows = f.windows.values()
        _line(axes, [regret(w.value_in_window, w.hindsight_bound) for w in windows], name)
    _from_zero(axes)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    return _png(canvas, axes, "window", "regret", len(figures) > 1)


def providers(figures: ByName) -> bytes:
    """Requests that each provider serves."""
    return _bars({p: f.providers for p, f in figures.items()}, "requests served")


def refusals(figures: ByName) -> bytes:
    """Requests not routed, by reason."""
    without_ok = {
        p: Counter({r: n for r, n in f.reasons.items() if r != Reason.OK})
        for p, f in figures.items()
    }
    return _bars(without_ok, "requests not routed")


def sizes(figures: ByName) -> bytes:
    """Share routed of each tenth of the requests by GPU-hours."""
    canvas, axes = _canvas()
    width = 0.8 / len(figures)
    ticks: list[str] = []
    for at, (name, f) in enumerate(figures.items()):
        deciles = f.served.by_size()
        x = np.arange(len(deciles)) + (at - (len(figures) - 1) / 2) * width
        shares = [share.of_requests for _, share in deciles]
        axes.bar(x, shares, width, color=COLORS[name], label=name)
        ticks = [f"≤ {edge:.2g}" if edge < 10 else f"≤ {edge:,.0f}" for edge, _ in deciles]
    axes.set_xticks(range(len(ticks)), ticks)
    axes.set_ylim(0, 1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.grid(visible=False, axis="x")
    label = "GPU-hours of the request, each group a tenth of them"
    return _png(canvas, axes, label, "requests routed", len(figures) > 1)


def prices(figures: ByName) -> bytes:
    """Distribution of the price over the routed requests."""
    return _distribution({p: f.prices for p, f in figures.items()}, "USD per hour")


def latencies(figures: ByName) -> bytes:
    """Distribution of the latency over the routed requests."""
    return _distribution({p: f.latencies for p, f in figures.items()}, "estimated latency, ms")


def shadow_prices(f: Figures, pools: Sequence[str]) -> bytes:
    """Shadow price of the dearest pools, window by window."""
    canvas, axes = _canvas()
    table = np.array([w.pool_prices for w in f.windows.values()]).reshape(-1, len(pools))
    dearest = np.argsort(-table.sum(axis=0), kind="stable")[: len(POOL_COLORS)]
    for color, pool in zip(POOL_COLORS, dearest.tolist(), strict=False):
        x, y = _thin(table[:, pool].tolist())
        axes.plot(x, y, color=color, lw=1.3, label=pools[pool])
    _from_zero(axes)
    return _png(canvas, axes, "window", "value of one more GPU-hour", legend=True)


_THOUSANDS = FuncFormatter(lambda y, _: f"{y:,.0f}")


def _canvas(height: float = 3.1) -> tuple[Canvas, Axes]:
    canvas = Canvas(figsize=(7.2, height), layout="constrained")
    axes = canvas.add_subplot()
    axes.grid(color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return canvas, axes


def _from_zero(axes: Axes) -> None:
    """Start the scale at 0 and leave room above the highest point."""
    top = axes.dataLim.y1
    axes.set_ylim(0, top * 1.06 if np.isfinite(top) and top > 0 else 1.0)


def _thin(series: Sequence[float]) -> tuple[F64, F64]:
    """Return positions and values, averaged in groups where there are too many to draw."""
    values = np.array(series, np.float64)
    group = -(-values.size // MOST_POINTS) or 1
    cuts = np.arange(0, values.size, group)
    sizes = np.diff(np.append(cuts, values.size))
    return cuts + (sizes + 1) / 2, np.add.reduceat(values, cuts) / sizes if values.size else values


def _line(axes: Axes, series: Sequence[float], name: str) -> None:
    x, y = _thin(series)
    dot = "o" if x.size <= 60 else ""
    axes.plot(x, y, marker=dot, ms=3.5, label=name, **_stroke(name))


def _stroke(name: str) -> dict[str, Any]:
    dashes = DASHES.get(name)
    color = COLORS[name]
    return {"color": color, "lw": 1.6, "ls": dashes or "-", "zorder": 2.5 if dashes else 2.0}


def _bars(counts: Mapping[str, Counter[str]], label: str) -> bytes:
    total = sum(counts.values(), Counter[str]())
    names = [name for name, _ in total.most_common(MOST_BARS)]
    row = max(0.36, 0.17 * len(counts))  # inches, for the figures at the bars to stay apart
    canvas, axes = _canvas(max(2.2, row * len(names) + 1.0))
    width = 0.8 / len(counts)
    for at, (who, count) in enumerate(counts.items()):
        y = np.arange(len(names)) + (at - (len(counts) - 1) / 2) * width
        bars = axes.barh(y, [count[n] for n in names], width, color=COLORS[who], label=who)
        axes.bar_label(bars, fmt="{:,.0f}", padding=3, fontsize=8, color=INK)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")
    axes.xaxis.set_major_formatter(_THOUSANDS)
    return _png(canvas, axes, label, "", len(counts) > 1)


def _distribution(counts: Mapping[str, Counter[float]], label: str) -> bytes:
    canvas, axes = _canvas()
    seen = [value for count in counts.values() for value in count]
    edges = np.linspace(min(seen, default=0.0), max(seen, default=1.0), 25)
    if edges[0] == edges[-1]:
        edges = np.linspace(edges[0] - 0.5, edges[0] + 0.5, 25)
    for name, count in counts.items():
        weights = list(count.values())
        bars, _ = np.histogram(list(count), edges, weights=weights)
        axes.stairs(bars / max(sum(weights), 1), edges, label=name, **_stroke(name))
    axes.xaxis.set_major_locator(MaxNLocator(8))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    _from_zero(axes)
    return _png(canvas, axes, label, "of routed requests", len(counts) > 1)


def _png(canvas: Canvas, axes: Axes, x_label: str, y_label: str, legend: bool) -> bytes:
    axes.set_xlabel(x_label, color=INK, fontsize=9)
    axes.set_ylabel(y_label, color=INK, fontsize=9)
    if legend:
        canvas.legend(
            *axes.get_legend_handles_labels(), loc="outside upper right", ncols=4,
            frameon=False, fontsize=9, labelcolor=INK,
        )  # fmt: skip
    image = BytesIO()
    # No creation date or version inside: the same replay, the same bytes.
    canvas.savefig(image, format="png", dpi=150, metadata={"Software": None})
    return image.getvalue()
