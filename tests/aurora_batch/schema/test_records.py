"""Records and messages as columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurora_batch.schema import Message, Messages, Record, Records
from aurora_batch.schema.records import NO_HEADERS, pack_headers, unpack_headers

HEADERS = st.lists(st.tuples(st.text(max_size=200), st.binary(max_size=200)), max_size=4).map(tuple)
SOME = st.none() | st.binary(max_size=40)
RECORDS = st.lists(
    st.builds(
        Record,
        SOME,
        SOME,
        st.just("t"),
        st.integers(0, 5),
        st.integers(0, 2**60),
        st.integers(-1, 2**60),
        HEADERS,
    ),
    max_size=12,
)
MESSAGES = st.lists(st.builds(Message, SOME, SOME, HEADERS, st.integers(0, 5)), max_size=12)


@given(RECORDS, st.integers(-3, 14), st.integers(-3, 14))
def test_records_are_what_they_were_made_of(records: list[Record], low: int, high: int) -> None:
    """One by one, sliced, taken and joined again."""
    columns = Records.of(records)
    assert list(columns) == columns.listed() == records
    assert Records.of(columns) is columns
    assert list(columns[low:high]) == records[low:high]
    assert list(columns[::-2]) == records[::-2]
    order = np.arange(len(records))[::-1]
    assert list(columns.take(order)) == records[::-1]
    assert list(Records.joined([columns[:3], Records.of([]), columns[3:]])) == records
    assert columns.sizes().tolist() == [len(r.value or b"") for r in records]
    assert columns.bytes == sum(columns.sizes())
    kinds, which = columns.kinds_of_headers()
    assert [kinds[i] for i in which] == [r.headers for r in records]


@given(MESSAGES)
def test_messages_are_what_they_were_made_of(messages: list[Message]) -> None:
    """One by one, sliced and joined again."""
    columns = Messages.of(messages)
    assert list(columns) == messages
    assert list(columns[1:4]) == messages[1:4]
    assert list(Messages.joined([columns[:2], columns[2:]])) == messages


@given(HEADERS)
def test_headers_come_back(headers: tuple[tuple[str, bytes], ...]) -> None:
    """In their order, those of one name too."""
    assert unpack_headers(pack_headers(headers)) == headers


@given(HEADERS.filter(bool), st.data())
def test_damaged_headers_are_an_error(
    headers: tuple[tuple[str, bytes], ...], data: st.DataObject
) -> None:
    """Cut anywhere, or with something behind them."""
    packed = pack_headers(headers)
    cut = data.draw(st.integers(0, len(packed) - 1))
    with pytest.raises(ValueError, match="headers"):
        unpack_headers(packed[:cut])
    with pytest.raises(ValueError, match="headers"):
        unpack_headers(packed + NO_HEADERS)
