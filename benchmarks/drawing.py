"""What the pictures of the benchmarks have in common; needs matplotlib (extra `report`)."""

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

INK, FAINT = "#2b2f36", "#d9dde3"
BLUE, LIGHT, ORANGE = "#2563a8", "#4aa3b8", "#d98032"
GREEN, VIOLET, PINK = "#3a9163", "#7a5cb0", "#b5446e"

PERCENT = FuncFormatter(lambda y, _: f"{100 * y:g} %")
SECONDS = FuncFormatter(lambda x, _: f"{x:g} s" if x >= 1 else f"{1e3 * x:g} ms")


def log_log(axes: Axes, title: str, x_label: str) -> None:
    """Give axes two logarithmic scales, a faint grid and labels."""
    axes.set_xscale("log")
    axes.set_yscale("log")
    plain(axes, title)
    axes.set_xlabel(x_label, color=INK, fontsize=9)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())


def plain(axes: Axes, title: str) -> None:
    """Give axes a title, a faint grid and no ticks."""
    axes.set_title(title, color=INK, fontsize=10, loc="left")
    axes.grid(color=FAINT, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(which="both", colors=INK, labelsize=9, length=0)


def save(canvas: Figure, path: Path) -> None:
    """Write a PNG, and the folder that it goes to."""
    path.parent.mkdir(parents=True, exist_ok=True)
    canvas.savefig(path, format="png", dpi=150, metadata={"Software": None})
