"""What a look at a cluster saw: the facts that `aurora_batch.diagnosis` judges.

None stands for what could not be seen: the broker has no such answer, or does not give it to us.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Api:
    """One kind of request: the versions of both sides, None where the broker has none."""

    name: str
    ours: tuple[int, int]
    theirs: tuple[int, int] | None

    @property
    def negotiated(self) -> int | None:
        """The version that is used, None where the two have none in common."""
        if self.theirs is None:
            return None
        version = min(self.ours[1], self.theirs[1])
        return version if version >= max(self.ours[0], self.theirs[0]) else None


@dataclass(frozen=True)
class TopicView:
    """A topic that exists."""

    name: str
    partitions: int
    replicas: int  # of the partition that has the fewest
    in_sync: int  # likewise
    leaderless: tuple[int, ...] = ()
    config: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Place:
    """A partition of the topic of requests as the group sees it."""

    first: int
    stable: int  # the end of what read_committed readers may read
    committed: int | None


@dataclass(frozen=True)
class OpenTransaction:
    """What holds back the readers of a partition."""

    topic: str
    partition: int
    producer: int
    coordinated: bool  # whether a transaction coordinator knows of it


@dataclass(frozen=True)
class Transaction:
    """A transactional id that is ours."""

    name: str
    state: str
    timeout_ms: int | None = None
    began_ms: int | None = None  # by the broker's clock; None while none is open


@dataclass(frozen=True)
class ClusterView:
    """One look at a cluster."""

    brokers: int
    features: Mapping[str, int]
    apis: tuple[Api, ...]
    topics: Mapping[str, TopicView]  # those of the settings that exist
    broker_config: Mapping[str, str] | None
    places: Mapping[int, Place] = field(default_factory=dict)  # by partition of the requests
    transactions: tuple[Transaction, ...] | None = None
    held_back: tuple[OpenTransaction, ...] | None = None
    ledgers: frozenset[str] = frozenset()  # identities, of those asked for, that have a snapshot
    newest_us: int | None = None  # the latest timestamp of the last requests
    unseen: tuple[str, ...] = ()  # why something is None, a line each
