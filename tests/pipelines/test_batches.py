"""Where batches end: the window, the count, the age in event time."""

from collections.abc import Sequence

import numpy as np
import pytest

from aurora_batch.settings import BatchSettings, ReplaySettings, RouterSettings, Settings
from pipelines.batches import Batches
from tests.requests import at, table


def cut(
    seconds: Sequence[float], *, pieces: int = 1, as_live: bool = False, **limits: float
) -> list[list[int]]:
    """Rows of each batch, when the log comes in equal pieces."""
    batch = {k: v for k, v in limits.items() if k != "chunk_requests"}
    settings = Settings(
        router=RouterSettings(batch=BatchSettings(**batch)),  # type: ignore[arg-type]
        replay=ReplaySettings(chunk_requests=int(limits.get("chunk_requests", 100))),
    )
    log = table([{"requested_at": at(s)} for s in seconds])
    batches = Batches(settings, as_live=as_live)
    found = []
    for rows in np.array_split(np.arange(len(seconds)), pieces):
        part = log.slice(rows[0], rows.size) if rows.size else log.slice(0, 0)
        found += list(batches.add(part, rows))
    found += list(batches.finish())
    for b in found:
        expected = [f"r{i}" for i in b.position]
        assert b.requests["request_id"].to_pylist() == expected
    return [b.position.tolist() for b in found]


@pytest.mark.parametrize("pieces", [1, 2, 3, 6, 9])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [[0, 1, 2], [3, 4], [5]]),
        ({"chunk_requests": 2}, [[0, 1], [2], [3, 4], [5]]),
        ({"as_live": True, "linger_ms": 5_000.0}, [[0], [1, 2], [3, 4], [5]]),
        ({"as_live": True, "linger_ms": 1.0, "max_requests": 9}, [[0], [1], [2], [3, 4], [5]]),
        ({"as_live": True, "linger_ms": 9e9, "max_requests": 2}, [[0, 1], [2], [3, 4], [5]]),
        ({"as_live": True, "linger_ms": 0.0}, [[0], [1], [2], [3], [4], [5]]),
    ],
)
def test_batches_end(pieces: int, options: dict[str, float], expected: list[list[int]]) -> None:
    """The batches do not depend on the pieces in which the log is read."""
    assert cut([1, 30, 34.9, 61, 61, 200], pieces=pieces, **options) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("pieces", [1, 2, 4])
def test_a_late_request_joins_the_open_batch(pieces: int) -> None:
    """Time never runs back: what is late is decided with its neighbours."""
    assert cut([1, 70, 3, 75], pieces=pieces) == [[0], [1, 2, 3]]
    assert cut([1, 70, 3, 75], pieces=pieces, as_live=True, linger_ms=4_000.0) == [
        [0],
        [1, 2],
        [3],
    ]


def test_what_comes_when_the_batch_is_of_age_opens_the_next() -> None:
    """A batch lingers for less than `linger_ms` after its first request."""
    assert cut([0, 1, 2], as_live=True, linger_ms=2_000.0) == [[0, 1], [2]]


@pytest.mark.parametrize("pieces", [1, 5])
def test_the_first_batch_of_a_window_is_known(pieces: int) -> None:
    """Only there capacity is whole, for every policy alike."""
    log = table([{"requested_at": at(s)} for s in (1, 2, 61, 3, 200)])
    batches = Batches(Settings(), as_live=True)
    found = []
    for rows in np.array_split(np.arange(5), pieces):
        found += list(batches.add(log.slice(rows[0], rows.size), rows))
    found += list(batches.finish())

    assert [(b.position.tolist(), b.opens_window) for b in found] == [
        ([0], True),
        ([1], False),
        ([2, 3], True),
        ([4], True),
    ]


def test_nothing_makes_no_batch() -> None:
    """An empty log has no batches."""
    assert cut([]) == []
