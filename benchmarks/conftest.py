"""Prints what pytest-benchmark's own table leaves out: quality and ratios beside the time."""

from typing import Any

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One row a benchmark: median time, then each figure that it recorded."""
    session: Any = getattr(terminalreporter.config, "_benchmarksession", None)
    ran = [b for b in session.benchmarks if b.stats] if session else []
    if not ran:
        return
    console = Console(width=160, highlight=False)
    for module in dict.fromkeys(b.fullname.split("::")[0] for b in ran):
        rows = [b for b in ran if b.fullname.startswith(module)]
        figures = list(dict.fromkeys(key for b in rows for key in b.extra_info))
        table = Table(title=module, title_justify="left")
        table.add_column("benchmark")
        for name in ("median ms", *(f.replace("_", " ") for f in figures)):
            table.add_column(name, justify="right")
        for b in rows:
            shown = [_text(b.extra_info.get(key, "")) for key in figures]
            table.add_row(escape(b.name), f"{b.stats.median * 1e3:,.3f}", *shown)
        console.print(table)


def _text(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.5g}" if isinstance(value, float) else str(value)
