"""A replay as one HTML page: figures and charts, nothing loaded from elsewhere."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from types import ModuleType

from aurora_batch.adapters.outputs import replacing
from aurora_batch.errors import UsageError
from aurora_batch.fleet import Fleet
from pipelines.contestants import GLOBAL
from pipelines.figures import Figures
from pipelines.served import Share
from pipelines.web_page import document, figure


@dataclass(frozen=True)
class Replayed:
    """What a page tells about."""

    title: str
    fleet: Fleet
    figures: Mapping[str, Figures]
    seconds: float
    as_live: bool


@contextmanager
def page(path: Path) -> Iterator[Callable[[Replayed], None]]:
    """Give the function that writes the page to `path`.

    Raises at once, before the work starts: `UsageError` without matplotlib, `LogError` where the
    page cannot be written.
    """
    charts = _charts()
    with replacing(path) as partial:

        def write(replayed: Replayed) -> None:
            partial.write_text(html(replayed, charts), encoding="utf-8")

        yield write


def _charts() -> ModuleType:
    try:
        from pipelines import charts
    except ModuleNotFoundError as error:
        if error.name and error.name.partition(".")[0] == "matplotlib":
            hint = "the report needs matplotlib: pip install 'aurora-batch[report]'"
            raise UsageError(hint) from None
        raise
    return charts


def html(replayed: Replayed, charts: ModuleType) -> str:
    """Return the page."""
    figures = replayed.figures
    last = list(figures.values())[-1]
    judged = all(f.judged for f in figures.values())
    mode = "batches closed as the stream would" if replayed.as_live else "each window at once"
    windows = f"{len(last.windows):,} window{'s' * (len(last.windows) != 1)}"
    of_each = "" if not replayed.as_live else ", each batch given what was left when it came"
    parts = [
        f"<h1>{escape(replayed.title)}</h1>",
        f"<p>{last.requests:,} requests in {windows}, {mode}; {replayed.seconds:.1f} s.</p>",
        _table(figures),
        f"<p>Value is the objective of the <code>global</code> policy for all; no allocation is "
        f"worth more than the bound{of_each}.{_HINDSIGHT * judged}</p>",
    ]
    regrets = [("Regret: below each window's bound in hindsight", charts.regrets(figures))]
    drawn = [
        ("Requests routed", charts.fill(figures)),
        ("Value and bound", charts.value(figures)),
        *(regrets if judged else []),
        ("Gap", charts.gaps(figures)),
        ("Served by", charts.providers(figures)),
        ("Not routed, and why", charts.refusals(figures)),
        ("Who is served, by size", charts.sizes(figures)),
        ("Price", charts.prices(figures)),
        ("Latency", charts.latencies(figures)),
    ]
    if GLOBAL in figures:
        prices = charts.shadow_prices(figures[GLOBAL], replayed.fleet.pool_ids)
        drawn.append(("Shadow prices (global)", prices))
    parts += ["<div class=charts>", *(figure(title, image) for title, image in drawn), "</div>"]
    parts += _served(figures)
    return document(replayed.title, "replay", parts)


_HINDSIGHT = (
    " Value in window is the same with every score as it was at the window's start, and the bound "
    "in hindsight is that of the window's requests, had all been known then; regret, how far "
    "the one is below the other, is no less than the true one, because a bound can be too high."
)


def _table(figures: Mapping[str, Figures]) -> str:
    columns = [f.lines() for f in figures.values()]
    head = "".join(f"<th>{name}</th>" for name in figures)
    rows = [
        f"<tr><td>{name}</td>" + "".join(f"<td>{c.get(name, '-')}</td>" for c in columns) + "</tr>"
        for name in dict.fromkeys(name for column in columns for name in column)
    ]
    return f"<table><tr><th></th>{head}</tr>\n" + "\n".join(rows) + "\n</table>"


def _served(figures: Mapping[str, Figures]) -> list[str]:
    """Tables of who is served: what a group asked for, and the shares that each one routed."""
    by_size = {
        name: {f"up to {edge:.3g} GPU-hours": share for edge, share in f.served.by_size()}
        for name, f in figures.items()
    }
    by_tenant = {name: f.served.tenants.shares() for name, f in figures.items()}
    by_gpu = {name: f.served.gpu_types.shares() for name, f in figures.items()}
    several = " (a request that accepts several counts under each)"
    return [
        _share_table("Who is served, by size", by_size),
        _share_table("Who is served, by GPU type asked for", by_gpu, several),
        _share_table("Who is served, by tenant", by_tenant),
    ]


def _share_table(title: str, shares: Mapping[str, Mapping[str, Share]], note: str = "") -> str:
    groups = "".join(f"<th colspan=2>{name}</th>" for name in shares)
    head = "<th>requests</th><th>GPU-hours</th>"
    rows = []
    for group, asked in next(iter(shares.values())).items():
        cells = [f"<td>{asked.requests:,.0f}</td><td>{asked.gpu_hours:,.1f}</td>"]
        for of in shares.values():
            cells += [_bar(of[group].of_requests), _bar(of[group].of_gpu_hours)]
        rows.append(f"<tr><td>{escape(group)}</td>{''.join(cells)}</tr>")
    return (
        f"<h2>{title}</h2><p>Share routed of the requests and of the GPU-hours{note}.</p>"
        f"<table class=shares><tr><th></th><th colspan=2>asked for</th>{groups}</tr>\n"
        f"<tr><th></th>{head}{head * len(shares)}</tr>\n" + "\n".join(rows) + "\n</table>"
    )


def _bar(share: float) -> str:
    return f'<td class=bar style="--share:{share:.1%}">{share:.1%}</td>'
