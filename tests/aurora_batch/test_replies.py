"""Replies: form, key and headers of the request, and never too large for a broker."""

import hypothesis
import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from aurora_batch import engine, replies, router, schema
from aurora_batch.fleet import default_fleet
from aurora_batch.replies import MAX_MESSAGE, MAX_VALUE, size_of
from aurora_batch.schema import Message, Record, Records
from aurora_batch.schema.records import NO_RECORDS
from aurora_batch.settings import Bytes, KafkaSettings, Settings
from tests import requests
from tests.streaming import request

ARROW = ("content-type", schema.ARROW_CONTENT_TYPE.encode())


def record(message: Message, offset: int = 0) -> Record:
    """A message as it is read back."""
    return Record(message.value, message.key, "t", 0, offset, headers=message.headers)


def decided(records: list[Record], most: int = MAX_MESSAGE) -> engine.Decided:
    """Decide records with the default fleet; messages have at most `most` bytes."""
    settings, fleet = Settings(kafka=KafkaSettings(max_message_bytes=Bytes(most))), default_fleet()
    batch, state = Records.of(records), router.initial_state(fleet, settings)
    return engine.decide(batch, engine.decode(batch, settings), fleet, state, settings)


def test_mixed_forms_answer_in_kind() -> None:
    """A JSON request between two Arrow payloads: one JSON decision, two Arrow payloads."""
    payloads = [
        schema.encode_requests_arrow(
            requests.table([{"request_id": f"{name}{i}"} for i in range(2)])
        )
        for name in "ab"
    ]
    records = [
        Record(payloads[0], b"x", headers=(ARROW,)),
        record(request(1), 1),
        Record(payloads[1], b"y", offset=2, headers=(ARROW,)),
    ]

    messages = decided(records).decision_messages

    by_key = {m.key: m for m in messages}
    assert b'"request_id":"r1"' in (by_key[b"h100"].value or b"")
    for key, name in ((b"x", "a"), (b"y", "b")):
        with pa.ipc.open_stream(by_key[key].value) as stream:
            assert stream.read_all()["request_id"].to_pylist() == [f"{name}0", f"{name}1"]


def test_many_arrow_decisions_leave_in_payloads_that_a_broker_takes() -> None:
    """20,000 decisions of one payload: several payloads, in order, none too large."""
    rows = requests.table([{"request_id": f"q{i}"} for i in range(20_000)])
    records = [Record(schema.encode_requests_arrow(rows), b"x", headers=(ARROW,))]

    messages = decided(records).decision_messages

    assert len(messages) > 1
    assert all(len(m.value or b"") <= MAX_VALUE for m in messages)
    parts = [pa.ipc.open_stream(m.value).read_all() for m in messages]
    assert pa.concat_tables(parts)["request_id"].to_pylist() == rows["request_id"].to_pylist()


def test_a_huge_record_is_a_dead_letter_that_fits() -> None:
    """Key, headers and bytes beyond what a broker takes are left out or cut, which is said."""
    huge = Record(b"?" * 2_000_000, b"k" * 100_000, "t", 3, 7, headers=(("h", b"." * 100_000),))

    (letter,) = decided([huge]).dead_letters

    headers = dict(letter.headers)
    assert headers["aurora-cut-from-bytes"] == b"2000000"
    assert (headers["aurora-partition"], headers["aurora-offset"]) == (b"3", b"7")
    assert (letter.key, len(letter.value or b""), letter.partition) == (None, MAX_VALUE, 3)
    assert "h" not in headers


LEAST = 4096


def test_who_cannot_be_answered_takes_no_capacity() -> None:
    """A reply beyond the limit makes a dead letter; the others are decided as if it were not."""
    whole = [request(i, gpu_type="a100", gpu_hours=150.0) for i in range(4)]
    poison = Message(whole[1].value, b"k" * LEAST)
    records = [record(m, i) for i, m in enumerate([whole[0], poison, *whole[2:]])]

    done = decided(records, LEAST)

    [letter] = done.dead_letters
    headers = dict(letter.headers)
    assert (headers["aurora-reason"], headers["aurora-offset"]) == (b"reply_too_large", b"1")
    assert (letter.key, letter.value) == (None, poison.value)
    alone = decided([r for r in records if r.offset != 1], LEAST)
    assert done.decisions.to_table() == alone.decisions.to_table()
    assert list(done.decision_messages) == list(alone.decision_messages)


def test_rows_of_a_payload_that_cannot_be_answered_are_named() -> None:
    """Where no row's reply fits beside the payload's headers, each is a dead letter of its own."""
    rows = requests.table([{"request_id": f"q{i}", "gpu_hours": i - 1.0} for i in range(5)])
    headers = (ARROW, ("ce_source", b"." * LEAST))

    done = decided([Record(schema.encode_requests_arrow(rows), b"x", headers=headers)], LEAST)

    letters = [dict(m.headers) for m in done.dead_letters]
    assert [h["aurora-row"] for h in letters] == [b"0", b"1", b"2", b"3", b"4"]
    assert [h["aurora-reason"] for h in letters] == [b"out_of_range"] * 2 + [b"reply_too_large"] * 3
    assert done.decisions.num_rows == 0


@hypothesis.settings(deadline=None)
@given(st.integers(0, 60_000), st.integers(0, 60_000), st.integers(LEAST, 2 * MAX_MESSAGE))
def test_no_dead_letter_is_larger_than_asked(key: int, header: int, most: int) -> None:
    """Whatever key, headers and value a bad record has."""
    bad = Record(b"?" * 1_200_000, b"k" * key, "t", headers=(("h", b"." * header),))

    [letter] = decided([bad], most).dead_letters

    assert size_of(letter) <= most


def test_nothing_makes_nothing() -> None:
    """A batch without decisions has no messages."""
    none = np.zeros(0, np.int64)
    empty = schema.Decisions.of(schema.DECISION_SCHEMA.empty_table())
    assert len(replies.decision_messages(NO_RECORDS, none, empty)) == 0


def test_a_letter_without_its_headers_still_says_that_it_is_arrow() -> None:
    """Or nobody could read it, nor send it again."""
    huge = ("h", b"." * 100_000)
    records = [Record(b"?", b"k", "t", 3, 7, headers=(huge, ARROW))]

    (letter,) = decided(records).dead_letters

    assert letter.headers[0] == ARROW
    assert "h" not in dict(letter.headers)
