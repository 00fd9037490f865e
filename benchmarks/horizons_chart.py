"""Value over load, as a picture; needs matplotlib (extra `report`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator

from benchmarks import drawing
from pipelines.charts import COLORS
from pipelines.contestants import BATCH_ONLY, GLOBAL, GREEDY

MARKERS = {GREEDY: "D", BATCH_ONLY: "^", GLOBAL: "o"}
DASHES = {BATCH_ONLY: (0, (3, 1.5))}  # it often covers greedy, which can be seen between them
WIDE, HIGH = 2.5, 2.5  # inches of a panel
MOST_TICKS = 5  # loads that are all named
LEAST_WIDE = 5.0  # inches, for the legend

Row = Mapping[str, Any]


def draw(rows: Sequence[Row], names: Sequence[str], weigh_by: str, path: Path) -> None:
    """Write a panel for each family (across) and number of pools (down), all of one scale.

    `rows` are those of `horizons.rows`: pools, family, load, and each contestant's share by name.
    """
    families = list(dict.fromkeys(row["family"] for row in rows))
    pools = list(dict.fromkeys(row["pools"] for row in rows))
    loads = sorted({row["load"] for row in rows})
    size = (max(WIDE * len(families) + 0.6, LEAST_WIDE), HIGH * len(pools) + 0.8)
    canvas = Figure(figsize=size, layout="constrained")
    panels = canvas.subplots(len(pools), len(families), squeeze=False, sharex=True, sharey=True)
    for down, count in enumerate(pools):
        for across, family in enumerate(families):
            own = [row for row in rows if (row["pools"], row["family"]) == (count, family)]
            _panel(panels[down, across], f"{family}, {count} pools", own, names)
    first = panels[0, 0]
    first.xaxis.set_major_locator(
        FixedLocator(loads) if len(loads) <= MOST_TICKS else MaxNLocator(MOST_TICKS)
    )
    first.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    first.margins(x=0.08)
    first.set_ylim(top=1.01)
    first.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    first.yaxis.set_major_formatter(drawing.PERCENT)
    canvas.supxlabel("load: GPU-hours asked for / capacity", color=drawing.INK, fontsize=9)
    weighed = "GPU-hours" if weigh_by == "gpu_hours" else "requests"
    canvas.supylabel(f"value / hindsight bound, by {weighed}", color=drawing.INK, fontsize=9)
    canvas.legend(
        *first.get_legend_handles_labels(), loc="outside upper center", ncols=len(names),
        frameon=False, fontsize=9, labelcolor=drawing.INK,
    )  # fmt: skip
    drawing.save(canvas, path)


def _panel(axes: Axes, title: str, rows: Sequence[Row], names: Sequence[str]) -> None:
    drawing.plain(axes, title)
    by_load = sorted(rows, key=lambda row: row["load"])
    for name in names:
        axes.plot(
            [row["load"] for row in by_load], [row[name] for row in by_load],
            color=COLORS[name], marker=MARKERS[name], ms=4.5, lw=1.5, label=name,
            ls=DASHES.get(name, "-"), clip_on=False,
        )  # fmt: skip
