"""One line of `aurora doctor`."""

from typing import Literal, NamedTuple

Status = Literal["ok", "warning", "unsafe"]


class Finding(NamedTuple):
    """What was looked at, how it is, and what to do where it is not well."""

    check: str
    status: Status
    what: str
    todo: str = ""


def ok(check: str, what: str) -> Finding:
    """Return a finding that needs nothing."""
    return Finding(check, "ok", what)


def warning(check: str, what: str, todo: str) -> Finding:
    """Return what should be changed or watched, though nothing is lost by it now."""
    return Finding(check, "warning", what, todo)


def unsafe(check: str, what: str, todo: str) -> Finding:
    """Return what loses requests, decides them twice, or stops a shard."""
    return Finding(check, "unsafe", what, todo)
