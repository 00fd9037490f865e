"""Times of a column are those that are read one at a time."""

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from aurora_batch.schema.times import _read, from_text

ORDINARY = st.from_regex(
    r"(19|20|21|22)[0-9]{2}-[01][0-9]-[0-3][0-9][Tt ][0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
    r"(\.[0-9]{0,11})?([Zz]|[+-][0-2][0-9]:[0-6][0-9])?",
    fullmatch=True,
)
DAYS = st.datetimes().map(lambda t: t.isoformat() + "Z")
EDGES = [
    "2000-02-29T00:00:00Z", "2100-02-29T00:00:00Z", "2024-02-29t23:59:59.999999999z",
    "2199-12-31T23:59:59.9999999Z", "2200-01-01T00:00:00Z", "1970-01-01T00:00:00Z",
    "1969-12-31T23:59:59.5Z", "1970-01-01T00:00:00+00:01", "1969-12-31T23:59:00-00:01",
    "2026-01-01T12:00:00", "2026-01-01T12:00:0\u0661Z", "", "2026-01-01T24:00:00Z",
]  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(st.lists(st.none() | ORDINARY | DAYS | st.sampled_from(EDGES), max_size=8))
@example(EDGES)
def test_column_and_value_are_read_alike(texts: list[str | None]) -> None:
    """Each is the microseconds, or the fault, that Python's calendar gives it."""
    times, faults = from_text(pa.array(texts, pa.string()), naive_utc=False)

    expected = [None if text is None else _read(text) for text in texts]
    assert times.cast("int64").to_pylist() == [e if isinstance(e, int) else None for e in expected]
    assert faults == {i: e for i, e in enumerate(expected) if isinstance(e, tuple)}
