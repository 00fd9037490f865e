"""Ids of decisions: the kernel's hash is the library's."""

import numpy as np
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.decision_ids import DIGITS, LONGEST, SHORTEST, decision_ids

IDS = st.lists(st.tuples(st.text(max_size=140), st.integers(0, 2**63 - 1)), max_size=20)


def naive(name: str, event: int) -> str:
    """What an id is."""
    return xxhash.xxh3_128_hexdigest(f"{name}\0{event}".encode())


def of_kernel(rows: list[tuple[str, int]]) -> list[str | None]:
    """The ids that the kernel makes, None where it leaves them to others."""
    names = [name.encode() for name, _ in rows]
    bounds = np.cumsum([0, *map(len, names)])
    octets = np.frombuffer(b"".join(names), np.uint8)
    octets.flags.writeable = False
    out = np.zeros(DIGITS * len(rows), np.uint8)
    left = decision_ids(octets, bounds, np.array([e for _, e in rows], np.int64), out)
    said = [out[DIGITS * i : DIGITS * (i + 1)].tobytes().decode() for i in range(len(rows))]
    return [None if skip else text for skip, text in zip(left.tolist(), said, strict=True)]


@settings(deadline=None)  # it compiles
@given(IDS)
def test_it_is_the_hash_of_id_and_time(rows: list[tuple[str, int]]) -> None:
    """Any ids and times; what is too short or too long is left, and nothing else."""
    for made, row in zip(of_kernel(rows), rows, strict=True):
        fits = SHORTEST <= len(f"{row[0]}\0{row[1]}".encode()) <= LONGEST
        assert made == (naive(*row) if fits else None)


def test_every_length_is_right() -> None:
    """Each number of bytes from the shortest to the longest, and one beyond either end."""
    event = 1_767_225_600_000_000
    rows = [("x" * size, event) for size in range(LONGEST - 15)]

    assert of_kernel(rows[:-1]) == [naive(*row) for row in rows[:-1]]
    assert of_kernel([rows[-1], ("", 0), ("r", -1)]) == [None, None, None]


@settings(deadline=None)
@given(st.lists(st.integers(10**15 - 2, 10**16 + 1), max_size=50))
def test_times_of_sixteen_digits_are_right(events: list[int]) -> None:
    """Those of our century, which are written eight digits at a time, and the next beyond."""
    edges = [10**15 - 1, 10**15, 10**16 - 1, 10**16, 10**15 + 10**8 - 1, 2 * 10**15 + 10**8]
    rows = [("request", event) for event in [*edges, *events]]

    assert of_kernel(rows) == [naive(*row) for row in rows]
