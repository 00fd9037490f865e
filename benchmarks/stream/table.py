"""Tables and the picture of what was found."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median

from rich.box import SIMPLE_HEAD
from rich.table import Table

from benchmarks.stream.cells import BY_NAME, Found, Latency, Start, Throughput

PERCENTILES = {"p50": "p50", "p95": "p95", "p99": "p99", "p999": "p99.9"}
# Name, numerator, denominator, figure of both.
RATIOS = (
    ("A/A: the same again", "json-again", "json", "per_s"),
    ("worker / aiokafka, record by record", "json", "aiokafka", "per_s"),
    ("worker / Quix Streams", "json", "quix", "per_s"),
    ("CPU, aiokafka / worker", "aiokafka", "json", "worker_cpu"),
    ("CPU, Quix Streams / worker", "quix", "json", "worker_cpu"),
    ("exactly once / at least once, JSON", "json", "json-alo", "per_s"),
    ("exactly once / at least once, Arrow", "arrow", "arrow-alo", "per_s"),
    ("looking ahead / not", "ahead", "ahead-off", "per_s"),
    ("CPU of the worker, looking ahead / not", "ahead", "ahead-off", "worker_cpu"),
    ("Arrow / JSON", "arrow", "json", "per_s"),
    ("CPU of the worker, 2 shards / 1, JSON", "json-2", "json", "worker_cpu"),
    ("CPU of the broker, 2 shards / 1, JSON", "json-2", "json", "broker_cpu"),
    ("CPU of the worker, 2 shards / 1, Arrow", "arrow-2", "arrow", "worker_cpu"),
)  # fmt: skip


def number(value: float, form: str = ",.0f") -> str:
    """Return a number for a table; a dash where there is none."""
    return "-" if math.isnan(value) else format(value, form)


def throughput(found: Found) -> Table:
    """Return a row for each cell: medians over the rounds."""
    shown = Table(
        box=SIMPLE_HEAD, title="a backlog, from broker to broker; CPU in seconds per million"
    )
    shown.add_column("cell", no_wrap=True)
    shown.add_column("what", no_wrap=True)
    for name in ("routes/s", "over s", "CPU, worker", "CPU, broker", "in = out"):
        shown.add_column(name, justify="right")
    for name in _in_order(t.cell for one in found.throughput for t in one):
        same = [t for one in found.throughput for t in one if t.cell == name]
        equal = all(t.consumed == t.decided for t in same)
        shown.add_row(
            name, BY_NAME[name].says, number(median(t.per_s for t in same)),
            number(median(t.seconds for t in same), ".1f"),
            number(median(t.worker_cpu for t in same), ".2f"),
            number(median(t.broker_cpu for t in same), ".2f"),
            f"{same[-1].consumed:,}{'' if equal else f' != {same[-1].decided:,}'}",
        )  # fmt: skip
    return shown


def ratios(found: Found) -> dict[str, tuple[float, float, float]]:
    """Return (median, least, largest) over the rounds of each ratio within a round."""
    said = {}
    for title, top, bottom, figure in RATIOS:
        values = []
        for one in found.throughput:
            by = {t.cell: getattr(t, figure) for t in one}
            if top in by and bottom in by:
                values.append(by[top] / by[bottom])
        values = [value for value in values if not math.isnan(value)]
        if values:
            said[title] = (median(values), min(values), max(values))
    return said


def of_ratios(found: Found) -> Table:
    """Return the ratios as a table."""
    shown = Table(box=SIMPLE_HEAD, title="ratios within a round")
    shown.add_column("ratio")
    for name in ("median", "least", "largest"):
        shown.add_column(name, justify="right")
    for title, values in ratios(found).items():
        shown.add_row(title, *(f"{v:.3f}" for v in values))
    return shown


def latencies(found: Found) -> list[Latency]:
    """Return medians over the rounds, by cell and rate."""
    every = [one for several in found.latency for one in several]
    result = []
    for name in _in_order(one.cell for one in every):
        own = [one for one in every if one.cell == name]
        for rate in sorted({one.offered for one in own}):
            same = [one for one in own if one.offered == rate]
            figures = {
                f: median(getattr(one, f) for one in same)
                for f in ("sent_per_s", "late_ms", *PERCENTILES, "decide_p99")
            }
            counts = min(one.count for one in same), all(one.sustained for one in same)
            result.append(Latency(name, rate, **figures, count=counts[0], sustained=counts[1]))
    return result


def of_latency(found: Found) -> Table:
    """Return a row for each cell and rate, milliseconds."""
    shown = Table(box=SIMPLE_HEAD, title="record to record, milliseconds")
    for name in ("cell", "offered/s", "sent/s", *PERCENTILES.values(), "decide p99", "late"):
        shown.add_column(name, justify="left" if name == "cell" else "right", no_wrap=True)
    for one in latencies(found):
        marks = [number(getattr(one, p), ".1f") for p in (*PERCENTILES, "decide_p99", "late_ms")]
        behind = "" if one.sustained else "  falls behind"
        shown.add_row(one.cell, number(one.offered), number(one.sent_per_s) + behind, *marks)
    return shown


def of_starts(found: Found) -> Table:
    """Return a row for each cell."""
    shown = Table(box=SIMPLE_HEAD, title="from a worker's start to its first committed decision")
    for name in ("cell", "what", "seconds"):
        shown.add_column(name, justify="right" if name == "seconds" else "left")
    for name in _in_order(one.cell for several in found.starts for one in several):
        same = [one.seconds for several in found.starts for one in several if one.cell == name]
        shown.add_row(name, BY_NAME[name].says, number(median(same), ".1f"))
    return shown


def draw(found: Found, path: Path) -> None:
    """Draw latency over load, a panel for each cell; needs matplotlib (extra `report`)."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator

    from benchmarks import drawing

    rows = [one for one in latencies(found) if one.sustained]
    names = _in_order(one.cell for one in rows)
    canvas = Figure(figsize=(4.6 * len(names), 3.6), layout="constrained")
    panels = canvas.subplots(1, len(names), sharey=True, squeeze=False)[0]
    colors = (drawing.LIGHT, drawing.BLUE, drawing.ORANGE, drawing.PINK)
    for axes, name in zip(panels, names, strict=True):
        own = [one for one in rows if one.cell == name]
        for (figure, title), color in zip(PERCENTILES.items(), colors, strict=True):
            x, y = [o.offered for o in own], [getattr(o, figure) for o in own]
            axes.plot(x, y, marker="o", ms=3.5, color=color, label=title)
        drawing.log_log(axes, BY_NAME[name].says, "requests per second offered")
        axes.set_xticks(x, [f"{rate / 1e3:g}k" for rate in x])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g} ms"))
    panels[0].legend(frameon=False, fontsize=8, labelcolor=drawing.INK)
    drawing.save(canvas, path)


def _in_order(names: Iterable[str]) -> Sequence[str]:
    return list(dict.fromkeys(names))


def plain(found: Found) -> dict[str, object]:
    """Return everything for JSON, each figure of each round; null where there is none."""
    fields = ("median", "least", "largest")
    return {
        "throughput": [[_said(t) for t in one] for one in found.throughput],
        "latency": [[_said(o) for o in one] for one in found.latency],
        "starts": [[_said(o) for o in one] for one in found.starts],
        "ratios": {k: dict(zip(fields, v, strict=True)) for k, v in ratios(found).items()},
    }


def _said(figures: Throughput | Latency | Start) -> dict[str, object]:
    return {
        k: None if isinstance(v, float) and math.isnan(v) else v for k, v in asdict(figures).items()
    }
