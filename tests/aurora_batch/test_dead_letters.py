"""A dead letter is read back as it was written, and sent again as it was sent."""

import pytest

from aurora_batch import dead_letters, replies, schema
from aurora_batch.dead_letters import DeadLetter, Place
from aurora_batch.schema import Record, Records
from aurora_batch.schema.dead_letters import REDRIVEN_FROM
from tests.aurora_batch.schema.payloads import payload

NOON_US = 1_767_268_800_000_000
SKEW_S = 300.0


def died(*records: Record) -> list[DeadLetter]:
    """The letters that records become, read back from partition 3."""
    batch = Records.of(records)
    decoded = schema.decode(batch, max_clock_skew_s=SKEW_S)
    found = [
        dead_letters.read(Record(m.value, m.key, "dlq", 3, 10 + i, NOON_US, m.headers))
        for i, m in enumerate(replies.dead_letter_messages(batch, decoded))
    ]
    return [letter for letter in found if letter is not None]


def record(value: bytes | None, offset: int = 41, *headers: tuple[str, bytes]) -> Record:
    """A record of the topic of requests."""
    return Record(value, b"a100", "aurora.requests", 2, offset, NOON_US, headers)


def test_a_letter_is_read_as_it_was_written() -> None:
    """Code, reason, source, version, time, bytes, and the headers that were its own."""
    (letter,) = died(record(payload(gpu_hours=-1), 41, ("ce_id", b"7")))

    assert letter.source == Place("aurora.requests", 2, 41)
    assert (letter.code, letter.schema_version) == ("out_of_range", schema.SCHEMA_VERSION)
    assert "gpu_hours" in letter.detail
    assert letter.requested_us == NOON_US
    assert letter.size == len(payload(gpu_hours=-1))
    assert letter.own_headers == (("ce_id", b"7"),)


def test_what_is_no_letter_is_none() -> None:
    """A mark, a record of somebody else, and one whose place is no number."""
    (mark,) = dead_letters.marks(died(record(b"{")))

    assert dead_letters.read(Record(mark.value, headers=mark.headers)) is None
    assert dead_letters.read(Record(b"{}")) is None
    bad = (("aurora-reason", b"malformed"), ("aurora-partition", b"x"), ("aurora-offset", b"1"))
    assert dead_letters.read(Record(b"{}", headers=bad)) is None


def test_it_is_sent_again_as_it_was() -> None:
    """Bytes, key, headers and partition, and where it came from; once more the first is gone."""
    (letter,) = died(record(b"{", 41, ("ce_id", b"7")))
    again = dead_letters.request_of(letter)
    (second,) = died(Record(again.value, again.key, "aurora.requests", 2, 99, -1, again.headers))

    assert (again.value, again.key, again.partition) == (b"{", b"a100", 2)
    assert again.headers == (("ce_id", b"7"), (REDRIVEN_FROM, b"aurora.requests:2:41"))
    assert (second.redriven_from, second.source.offset) == ("aurora.requests:2:41", 99)
    assert second.own_headers == (("ce_id", b"7"),)
    assert dict(dead_letters.request_of(second).headers)[REDRIVEN_FROM] == b"aurora.requests:2:99"


def test_a_mark_names_what_was_sent() -> None:
    """One a partition, whose identities are those of the letters and of nothing else."""
    letters = died(record(b"{", 1), record(b"[", 2), record(b"}", 3))

    (mark,) = dead_letters.marks(letters[:2])

    assert mark.partition == 3
    names = dead_letters.marked(Record(mark.value, headers=mark.headers))
    assert names == [x.identity for x in letters[:2]]
    assert letters[2].identity not in names
    assert dead_letters.marked(letters[0].record) == []


def test_the_same_place_of_another_topic_of_that_name_is_another_letter() -> None:
    """The time of the original tells them apart."""
    (old,) = died(record(b"{"))
    (new,) = died(Record(b"{", b"a100", "aurora.requests", 2, 41, NOON_US + 1))

    assert old.source == new.source
    assert old.identity != new.identity


def test_what_was_cut_or_decided_is_not_sent() -> None:
    """Half a payload is no request; a duplicate is sent only by name."""
    (cut,) = died(record(b"x" * 1_000_000))
    (twice,) = died(record(payload("a"), 1), record(payload("a"), 2))

    assert dead_letters.obstacle(cut, codes=[cut.code]) == "only its first bytes were kept"
    assert dead_letters.obstacle(twice, codes=()) == "a request of its id was decided"
    assert dead_letters.obstacle(twice, codes=["duplicate_request"]) is None


def test_valid_now_is_what_would_be_a_request() -> None:
    """A clock that was ahead no longer is; a negative number stays one; duplicates are apart."""
    ahead = payload("a", requested_at="2026-01-01T13:00:00Z")
    letters = died(record(ahead, 1), record(payload(gpu_hours=-1), 2), record(ahead, 3))

    assert dead_letters.valid_now(letters, NOON_US, SKEW_S) == [False, False, False]
    later = NOON_US + 3_600_000_000
    assert dead_letters.valid_now(letters, later, SKEW_S) == [True, False, True]


def test_choices_are_all_of_them() -> None:
    """By code, place, partition and time; a place without a row means all rows."""
    (letter,) = died(record(b"{"))
    source = letter.source

    assert dead_letters.chooser()(letter)
    assert dead_letters.chooser(codes=["malformed"], places=[source], partition=2)(letter)
    assert dead_letters.chooser(since_us=NOON_US)(letter)
    for other in (
        dead_letters.chooser(codes=["too_large"]),
        dead_letters.chooser(places=[source._replace(offset=7)]),
        dead_letters.chooser(places=[source._replace(row=0)]),
        dead_letters.chooser(partition=3),
        dead_letters.chooser(since_us=NOON_US + 1),
    ):
        assert not other(letter)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("3:41", Place("t", 3, 41)),
        ("3:41:0", Place("t", 3, 41, 0)),
        ("x.y:3:41", Place("x.y", 3, 41)),
        ("x:3:41:7", Place("x", 3, 41, 7)),
        ("9:3:41:7", Place("9", 3, 41, 7)),
    ],
)
def test_places_are_read_and_written(text: str, place: Place) -> None:
    """With and without topic and row; what is written is read."""
    assert Place.parse(text, "t") == place
    assert Place.parse(str(place), "other") == place


@pytest.mark.parametrize("text", ["", "3", "x", "x:3", "x:y:3", ":3:4", "1:2:3:4:5", "3:-1"])
def test_what_is_no_place_is_refused(text: str) -> None:
    """With what was expected."""
    with pytest.raises(ValueError, match="expected"):
        Place.parse(text, "t")
