"""The trail of a micro-batch: on one message that has room, and read again as it was."""

from itertools import islice

import msgspec
import pytest

from aurora_batch.policies import NO_SAFETY, Safety
from aurora_batch.replies import size_of
from aurora_batch.schema import Message, Messages
from aurora_batch.settings import Settings
from aurora_batch.trail import HEADER, Certified, Trail, marked, trail_in, version_of

BATCH = Certified("0/2-start-1", 3, 2, 1.5, None, "target_gap", 70)
TRAIL = Trail("0/2", (0, 4), "fleet", "settings", {1: (5, 9)}, [BATCH], {2: 30})
SMALL, LARGE = Message(b"x" * 10), Message(b"x" * 5_000)


def test_a_trail_is_read_again_as_it_was() -> None:
    """Also one whose bound nobody computed."""
    messages = marked(Messages.of([SMALL, SMALL]), TRAIL, 10_000)
    assert trail_in(messages[0].headers) == TRAIL
    assert trail_in(messages[1].headers) is None


def test_solves_end_where_they_did() -> None:
    """At the unit of the batch that the clock ended, and nowhere in the others."""
    assert list(islice(TRAIL.safeties(), 4)) == [
        Safety(), Safety(), Safety(stop_at=30), NO_SAFETY,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("messages", "place", "batches"),
    [
        ([LARGE, SMALL], 1, [BATCH]),
        ([Message(b"x" * 4_800)], 0, []),
        ([LARGE], None, None),
        ([], None, None),
    ],
    ids=["the next that has room", "without certificates", "nowhere", "no message"],
)
def test_no_message_grows_beyond_what_brokers_take(
    messages: list[Message], place: int | None, batches: list[Certified] | None
) -> None:
    """A refused one would stop the shard."""
    many = msgspec.structs.replace(TRAIL, batches=[BATCH] * (5 if place == 0 else 1))
    sent = marked(Messages.of(messages), many, 5_260)
    carry = [i for i, m in enumerate(sent) if any(name == HEADER for name, _ in m.headers)]
    assert carry == ([] if place is None else [place])
    assert all(size_of(m) <= 5_260 for m in sent)
    if place is not None:
        said = trail_in(sent[place].headers)
        assert said is not None
        assert said.batches == batches


def test_settings_that_decide_have_a_version() -> None:
    """Another one for other weights, the same for another broker."""
    settings = Settings()
    kafka = msgspec.structs.replace(settings.kafka, bootstrap="elsewhere:1")
    solver = msgspec.structs.replace(settings.router.solver, target_gap=0.3)
    router = msgspec.structs.replace(settings.router, solver=solver)
    assert version_of(msgspec.structs.replace(settings, kafka=kafka)) == version_of(settings)
    assert version_of(msgspec.structs.replace(settings, router=router)) != version_of(settings)
