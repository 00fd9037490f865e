"""The check of whole batches finds what is torn or lost."""

import json

import pytest

from aurora_batch.schema import Record
from tests.fire.intents import Intent, Intents, check_whole


def decision(name: str) -> Record:
    """A decision as it is read back."""
    return Record(json.dumps({"request_id": name}).encode())


def snapshot(number: int) -> Record:
    """A snapshot of the ledger as it is read back."""
    return Record(b"state %d" % number, offset=number)


FIRST = Intent([b'{"request_id": "a"}', b'{"request_id": "b"}'], [b"bad"], [b"state 1"], {0: 3})
SECOND = Intent([b'{"request_id": "c"}'], [], [b"state 2"], {0: 4})
BOTH = Intent(
    FIRST.decisions + SECOND.decisions, FIRST.dead, [b"state 1", b"state 2"], SECOND.offsets
)
TRIED = Intents([FIRST, SECOND], [{0: 0}, {0: 3}])
BAD = Record(b"bad")


def test_whole_batches_pass() -> None:
    """Both batches, or only the first."""
    check_whole(TRIED, [*map(decision, "abc")], [BAD], [snapshot(1), snapshot(2)])
    check_whole(TRIED, [*map(decision, "ab")], [BAD], [snapshot(1)])


def test_batches_that_were_committed_together_pass() -> None:
    """Whole, after one of them was tried alone; half of them does not."""
    tried = Intents([FIRST, BOTH], [{0: 0}, {0: 0}])
    check_whole(tried, [*map(decision, "abc")], [BAD], [snapshot(1), snapshot(2)])
    with pytest.raises(AssertionError):
        check_whole(Intents([BOTH], [{0: 0}]), [*map(decision, "ab")], [BAD], [snapshot(1)])


@pytest.mark.parametrize(
    ("decisions", "dead", "ledger"),
    [
        pytest.param("ac", [BAD], [1, 2], id="a decision is lost"),
        pytest.param("abc", [], [1, 2], id="a dead letter is lost"),
        pytest.param("abc", [BAD], [1], id="a snapshot is lost"),
        pytest.param("c", [], [2], id="a batch is lost, and a session began behind it"),
    ],
)
def test_what_is_torn_is_found(decisions: str, dead: list[Record], ledger: list[int]) -> None:
    """Each part of a batch is missed."""
    with pytest.raises(AssertionError):
        check_whole(TRIED, [*map(decision, decisions)], dead, [*map(snapshot, ledger)])
