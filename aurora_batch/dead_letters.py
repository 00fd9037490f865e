"""Dead letters read back: what each says, which are sent again, and the mark that it was.

A dead letter is sent again at most once. The mark of it lies beside it, in the same partition of
the same topic, and so outlives it: brokers drop what is oldest first. One mark names all that one
transaction sent again. It names them by what they were, not by where they lie, since a worker that
reads the requests again (a new group, no transactions) writes their dead letters again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from aurora_batch import schema
from aurora_batch.model import Fault
from aurora_batch.schema import Message, Record
from aurora_batch.schema.dead_letters import PREFIX, REDRIVEN_FROM

REDRIVEN = PREFIX + "redriven"  # header of a mark: identities, with commas
CUT = PREFIX + "cut-from-bytes"


class Place(NamedTuple):
    """Where a record, or a row of its Arrow payload, came from."""

    topic: str
    partition: int
    offset: int
    row: int | None = None

    def __str__(self) -> str:
        """`TOPIC:PARTITION:OFFSET[:ROW]`."""
        return ":".join(str(part) for part in self if part is not None)

    @classmethod
    def parse(cls, text: str, topic: str) -> "Place":
        """Return the place of `[TOPIC:]PARTITION:OFFSET[:ROW]`, of `topic` where none is said.

        Raises `ValueError` where that is none.
        """
        parts = text.split(":")
        if not parts[0].isdecimal() or len(parts) == 4:
            topic, *parts = parts
        if not topic or len(parts) not in (2, 3) or not all(map(str.isdecimal, parts)):
            raise ValueError("expected [TOPIC:]PARTITION:OFFSET[:ROW]")
        return cls(topic, *map(int, parts))


class DeadLetter(msgspec.Struct, frozen=True):
    """One dead letter, as its record says."""

    record: Record  # on the topic of dead letters; `value` may have been dropped
    size: int  # bytes of the value
    source: Place
    code: str
    detail: str
    schema_version: int | None
    requested_us: int  # timestamp of the original record, -1 unknown
    cut_from: int | None  # bytes of the original where only the first ones were kept
    redriven_from: str | None  # the place of the letter that this one was sent again from

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset on the topic of dead letters."""
        return self.record.partition, self.record.offset

    @property
    def identity(self) -> str:
        """Source and time of the original: another topic of the same name is another source."""
        return f"{self.source}@{self.requested_us}"

    @property
    def own_headers(self) -> tuple[tuple[str, bytes], ...]:
        """Return the headers that the original had."""
        return tuple(h for h in self.record.headers if not h[0].startswith(PREFIX))

    def without_value(self) -> "DeadLetter":
        """Return it without its bytes, for lists of many."""
        record = msgspec.structs.replace(self.record, value=None)
        return msgspec.structs.replace(self, record=record)


def read(record: Record) -> DeadLetter | None:
    """Return what a record of the topic of dead letters says; None where it is no dead letter."""
    said = {name: value.decode(errors="replace") for name, value in record.headers if value}
    code = said.get(PREFIX + "reason")
    partition, offset = _number(said, "partition"), _number(said, "offset")
    if code is None or partition is None or offset is None:
        return None
    return DeadLetter(
        record=record,
        size=len(record.value or b""),
        source=Place(said.get(PREFIX + "topic", ""), partition, offset, _number(said, "row")),
        code=code,
        detail=said.get(PREFIX + "detail", ""),
        schema_version=_number(said, "schema-version"),
        requested_us=schema.microseconds(said.get(PREFIX + "timestamp")),
        cut_from=_number(said, "cut-from-bytes"),
        redriven_from=said.get(REDRIVEN_FROM),
    )


def _number(said: Mapping[str, str], name: str) -> int | None:
    text = said.get(PREFIX + name, "")
    return int(text) if text.isdecimal() and text.isascii() else None


def marked(record: Record) -> list[str]:
    """Return the identities that a mark names; none if it is none."""
    return [
        identity
        for name, value in record.headers
        if name == REDRIVEN
        for identity in value.decode().split(",")
    ]


def marks(letters: Iterable[DeadLetter]) -> list[Message]:
    """Return the records that say that these were sent again: one a partition."""
    said: dict[int, list[str]] = {}
    for letter in letters:
        said.setdefault(letter.record.partition, []).append(letter.identity)
    return [
        Message(None, headers=((REDRIVEN, ",".join(of).encode()),), partition=partition)
        for partition, of in said.items()
    ]


def request_of(letter: DeadLetter) -> Message:
    """Return the original as it was sent, with a header that says where it came from."""
    came = (REDRIVEN_FROM, str(letter.source).encode())
    return Message(
        letter.record.value,
        letter.record.key,
        (*letter.own_headers, came),
        letter.source.partition,
    )


def chooser(
    *,
    codes: Sequence[str] = (),
    places: Sequence[Place] = (),
    partition: int | None = None,
    since_us: int | None = None,
) -> Callable[[DeadLetter], bool]:
    """Return whether a letter is one of those asked for; what is not said excludes none.

    A place without a row means all rows of its record.
    """

    def chosen(letter: DeadLetter) -> bool:
        source = letter.source
        return (
            (not codes or letter.code in codes)
            and (not places or source in places or source._replace(row=None) in places)
            and (partition is None or source.partition == partition)
            and (since_us is None or letter.record.timestamp_us >= since_us)
        )

    return chosen


def obstacle(letter: DeadLetter, *, codes: Sequence[str]) -> str | None:
    """Return why a letter must not be sent again, None where it may.

    Parameters
    ----------
    codes
        Those that were asked for by name: a duplicate is only sent again if it was, since the
        request that came first has been decided.
    """
    if letter.cut_from is not None:
        return "only its first bytes were kept"
    if letter.code == Fault.DUPLICATE and letter.code not in codes:
        return "a request of its id was decided"
    return None


def valid_now(letters: Sequence[DeadLetter], now_us: int, max_clock_skew_s: float) -> list[bool]:
    """Return which letters would be requests if they were sent now, by this program's rules."""
    records = [msgspec.structs.replace(x.record, timestamp_us=now_us) for x in letters]
    rejections = schema.decode(records, max_clock_skew_s=max_clock_skew_s).rejections
    # Two of one id are both valid: which of them was decided is not known here.
    faulty = {r.index for r in rejections if r.fault is not Fault.DUPLICATE}
    return [i not in faulty for i in range(len(records))]
