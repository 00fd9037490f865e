"""Why payloads are no requests, remembered: what is broken is sent again and again.

A producer that retries, or is stuck, sends the same bytes each time. To say once more what is wrong
with them takes a fiftieth of finding it out. Only verdicts that the payload alone decides are kept,
so nobody can tell whether one was remembered.
"""

from collections.abc import Sequence
from typing import NamedTuple

from aurora_batch.model import Fault

MOST = 4096  # verdicts
LONGEST = 2048  # bytes of a payload that is remembered; 8 MiB in all

# These also depend on the record's time, on what came before, on settings.
_ALONE = frozenset(Fault) - {
    Fault.CLOCK_SKEW,
    Fault.DUPLICATE,
    Fault.REPLY_TOO_LARGE,
    Fault.UNKNOWN_WORKLOAD,
}


class Why(NamedTuple):
    """Why a payload is no request."""

    fault: Fault
    detail: str
    request_id: str | None = None


_known: dict[bytes | None, Why] = {}


def recall(payloads: Sequence[bytes | None]) -> list[Why | None]:
    """Return what is wrong with each payload, None where that is not known."""
    return list(map(_known.get, payloads)) if _known else [None] * len(payloads)


def remember(payload: bytes | None, why: Why) -> None:
    """Keep a verdict, if it may be kept; now and then all are forgotten, which bounds them."""
    if why.fault not in _ALONE or (payload is not None and len(payload) > LONGEST):
        return
    if len(_known) >= MOST:
        _known.clear()
    _known[payload] = why


def forget() -> None:
    """Know nothing."""
    _known.clear()
