"""Batch router for GPU compute: see `aurora_batch.router` for the story in one page.

The names below load on first use, so that `aurora --help` need not wait for compilers and solvers.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aurora_batch.configuration import load_settings
    from aurora_batch.fleet import Fleet, default_fleet, load_fleet
    from aurora_batch.routing import Result, route
    from aurora_batch.settings import Settings

__all__ = ["Fleet", "Result", "Settings", "default_fleet", "load_fleet", "load_settings", "route"]

_HOMES = {
    "Fleet": "fleet",
    "Result": "routing",
    "Settings": "settings",
    "default_fleet": "fleet",
    "load_fleet": "fleet",
    "load_settings": "configuration",
    "route": "routing",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
