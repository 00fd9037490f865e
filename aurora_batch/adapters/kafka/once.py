"""Transactional requests that are sent once.

aiokafka sends a request of which no answer came again, under the same producer epoch. The first one
may still be on its way: a late EndTxn then commits a part of the *next* transaction, and a late
TxnOffsetCommit sets offsets back (Apache Kafka KIP-890; jepsen.io/analyses/bufstream-0.1.0).
Brokers refuse both only from an earlier epoch, so whoever is in doubt must start a new producer.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any

from aiokafka import errors as kafka_errors
from aiokafka.protocol.transaction import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    TxnOffsetCommitRequest,
)

# Not Produce, whose sequence numbers let the broker drop what comes again; nor InitProducerId,
# which makes the new epoch.
_ONCE = (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    TxnOffsetCommitRequest,
)

Send = Callable[..., Awaitable[Any]]


class Unanswered(Exception):
    """A transactional request was sent, and nobody knows whether it arrived.

    Not a `KafkaError`: aiokafka retries most of those, and ends its sender on anything else.
    """


def sent_once(send: Send) -> Send:
    """Return `AIOKafkaClient.send` that raises `Unanswered` where aiokafka would send again."""

    @wraps(send)
    async def once(node_id: int, request: Any, **options: Any) -> Any:
        try:
            return await send(node_id, request, **options)
        except kafka_errors.NodeNotReadyError:
            raise  # nothing was sent
        except kafka_errors.KafkaError as error:
            if isinstance(request, _ONCE):
                raise Unanswered(f"no answer to {type(request).__name__}: {error!r}") from error
            raise

    return once


async def refused(*_: Any, **__: Any) -> Any:
    """Be `AIOKafkaClient.send` of a producer that is closed."""
    raise kafka_errors.KafkaConnectionError("this producer is closed")
