"""Two sinks that do what is usually done about a commit in doubt, and are wrong."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aurora_batch.adapters.kafka import Doubtful, Sink, Source, Staged
from aurora_batch.schema import Message


@dataclass(frozen=True)
class Kept(Staged):
    """What is staged, with the messages that it came from."""

    messages_by_topic: dict[str, list[Message]] = dataclasses.field(default_factory=dict)


class HopefulSink(Sink):
    """Takes a commit in doubt for one that happened, and goes on with a new producer."""

    def __init__(self, *how: Any) -> None:
        self._how = how
        super().__init__(*how)

    def stage(self, messages: Mapping[str, Iterable[Message]]) -> Staged:
        """See `Sink`."""
        lists = {topic: list(sequence) for topic, sequence in messages.items()}
        return Kept(**vars(super().stage(lists)), messages_by_topic=lists)

    def _said(self, part: Staged) -> dict[str, list[Message]]:
        assert isinstance(part, Kept)
        return part.messages_by_topic

    async def commit(
        self, staged: Sequence[Staged], offsets: Mapping[int, int], source: Source
    ) -> None:
        """See `Sink`."""
        # Batches belong to the producer that made them.
        anew = [super(HopefulSink, self).stage(self._said(part)) for part in staged]
        try:
            await super().commit(anew, offsets, source)
        except Doubtful:
            await self.close()
            super().__init__(*self._how)
            await self.open()
            await self.after_doubt(staged, offsets, source)

    async def after_doubt(
        self, staged: Sequence[Staged], offsets: Mapping[int, int], source: Source
    ) -> None:
        """Do nothing about it."""


class InsistingSink(HopefulSink):
    """Takes a commit in doubt for one that did not happen, and commits the same again."""

    async def after_doubt(
        self, staged: Sequence[Staged], offsets: Mapping[int, int], source: Source
    ) -> None:
        """Commit it again."""
        await self.commit(staged, offsets, source)
