"""What a worker meant to commit, batch by batch, and whether the log has all or nothing of it."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aurora_batch.adapters.kafka import Sink, Source, Staged
from aurora_batch.progress import Account
from aurora_batch.schema import Message, Record
from aurora_batch.settings import Topics
from tests.fire.watching import said_by

Values = list[bytes]


@dataclass
class Intent:
    """Micro-batches as they were to be committed together, once or again."""

    decisions: Values
    dead: Values
    snapshots: Values  # one of each
    offsets: dict[int, int]


@dataclass
class Intents:
    """All commits that were tried, and from where each session began."""

    tried: list[Intent] = field(default_factory=list)
    begun: list[dict[int, int]] = field(default_factory=list)


def recording_sink(intents: Intents, topics: Topics, kind: type[Sink] = Sink) -> type[Sink]:
    """Return a sink that writes down what it is to commit."""

    class RecordingSink(kind):  # type: ignore[misc, valid-type]  # a class given as a value
        def stage(self, messages: Mapping[str, Iterable[Message]]) -> Staged:
            lists = {topic: list(sequence) for topic, sequence in messages.items()}
            return RecordedStaged(**vars(super().stage(lists)), what=lists)

        async def commit(
            self, staged: Sequence[Staged], offsets: Mapping[int, int], source: Source
        ) -> None:
            parts = [part.what for part in staged]  # type: ignore[attr-defined]  # they are ours
            said = (
                [value for what in parts for value in values(what[topic])]
                for topic in (topics.decisions, topics.dead_letters, topics.ledger)
            )
            intents.tried.append(Intent(*said, dict(offsets)))
            assert len(intents.tried[-1].snapshots) == len(parts)
            await super().commit(staged, offsets, source)

    return RecordingSink


@dataclass(frozen=True)
class RecordedStaged(Staged):
    """What is staged, with the messages that it came from."""

    what: dict[str, list[Message]] = dataclasses.field(default_factory=dict)


class RecordingAccount(Account):
    """Writes down where sessions begin."""

    def __init__(self, intents: Intents) -> None:
        super().__init__()
        self._intents = intents

    def rewound(self, committed: Mapping[int, int]) -> None:
        """See `Account`."""
        self._intents.begun.append(dict(committed))
        super().rewound(committed)


def values(records: Iterable[Any]) -> Values:
    """Return the values of messages or records, in their order."""
    return [r.value for r in records]


def check_whole(
    intents: Intents, decisions: list[Record], dead: list[Record], ledger: list[Record]
) -> None:
    """Each batch is there whole or not at all; sessions began only where one had ended.

    Arguments are all committed records of each topic; `ledger` is of one key and thus one
    partition, so that its order is the order of the commits. Snapshots name their intent: two
    batches that leave the same state behind would be confused, and the numbers then disagree.
    """
    kept = [r.value for r in sorted(ledger, key=lambda r: r.offset)]
    made = {r.value: r for r in decisions}
    letters = {r.value: r for r in dead}
    ends: list[dict[int, int]] = []
    at = 0
    while at < len(kept):
        # An aborted batch may come again, byte for byte: what matters is what is there.
        whole = [
            intent
            for intent in intents.tried
            if intent.snapshots
            and intent.snapshots == kept[at : at + len(intent.snapshots)]
            and all(v in made for v in intent.decisions)
            and all(v in letters for v in intent.dead)
        ]
        assert whole, f"a batch is torn: snapshot {at}"
        for value in whole[-1].decisions:
            del made[value]
        for value in whole[-1].dead:
            del letters[value]
        ends.append(whole[-1].offsets)
        at += len(whole[-1].snapshots)

    assert not made, f"decisions without their batch: {[said_by(r) for r in made.values()][:3]}"
    assert not letters
    known = [tuple(sorted(end.items())) for end in ends]
    first = intents.begun[0]
    for begin in intents.begun:
        assert begin == first or tuple(sorted(begin.items())) in known
