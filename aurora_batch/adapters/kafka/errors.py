"""aiokafka's errors, translated here and nowhere else."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from aiokafka import errors as kafka_errors

from aurora_batch.adapters.kafka.once import Unanswered
from aurora_batch.errors import BrokerError

T = TypeVar("T")

_REFUSED = (
    kafka_errors.TopicAuthorizationFailedError,
    kafka_errors.GroupAuthorizationFailedError,
    kafka_errors.ClusterAuthorizationFailedError,
    kafka_errors.TransactionalIdAuthorizationFailed,
)
_NOT_KNOWN = (
    kafka_errors.AuthenticationFailedError,
    kafka_errors.AuthenticationMethodNotSupported,
    kafka_errors.SaslAuthenticationFailed,
    kafka_errors.UnsupportedSaslMechanismError,
)
_TOO_LARGE = (kafka_errors.MessageSizeTooLargeError, kafka_errors.RecordListTooLargeError)


class Doubtful(BrokerError):
    """Something failed, and nobody knows whether it happened: begin again from what is committed.

    The producer that met it must not be used again: its sequence numbers may have a gap, and a
    late answer could end a later transaction.
    """


class Fenced(BrokerError):
    """Another worker has taken this shard over; this one must stop."""


@asynccontextmanager
async def translated(doing: str, bootstrap: str, timeout_s: float) -> AsyncIterator[None]:
    """Run the body within a deadline; raise only `BrokerError`, of one line.

    Parameters
    ----------
    doing
        What the body does, such as "committing a batch".
    bootstrap
        Address to name in the message.
    timeout_s
        Seconds after which the body is cancelled and `Doubtful` raised.
    """
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError as error:
        raise Doubtful(
            f"{doing} at {bootstrap} took more than {timeout_s:g} s; is the broker well?"
        ) from error
    except kafka_errors.KafkaError as error:
        raise _translate(error, doing, bootstrap) from error
    except (OSError, Unanswered) as error:
        raise Doubtful(f"{doing} at {bootstrap} failed: {_line(error)}") from error


def _translate(error: Any, doing: str, bootstrap: str) -> BrokerError:
    if isinstance(error, kafka_errors.ProducerFenced | kafka_errors.InvalidProducerEpoch):
        return Fenced(
            "another worker has taken this shard over, or this one stood still for longer than "
            "kafka.transaction_timeout_ms; one worker a shard may run"
        )
    if isinstance(error, _NOT_KNOWN):
        return BrokerError(
            f"{bootstrap} does not accept user and password (AURORA_KAFKA_USERNAME, "
            f"AURORA_KAFKA_PASSWORD) or the mechanism: {_line(error)}"
        )
    if isinstance(error, _REFUSED):
        return BrokerError(f"{bootstrap} does not allow {doing}: {_line(error)}; grant it")
    if isinstance(error, _TOO_LARGE):
        return BrokerError(
            f"{bootstrap} refuses a record as too large; raise max.message.bytes of the topic, or "
            "lower kafka.max_message_bytes to it; if the topic has compression.type=uncompressed, "
            "set that to producer"
        )
    if isinstance(error, kafka_errors.OffsetOutOfRangeError):
        return BrokerError(
            f"offsets that were to be read at {bootstrap} are gone ({_line(error)}); the retention "
            "was too short, or the topic was made anew: choose another kafka.group to begin at "
            "the earliest"
        )
    if isinstance(error.__context__, Unanswered):
        error = error.__context__  # of aiokafka's "Unexpected error during batch delivery"
    return Doubtful(f"{doing} at {bootstrap} failed: {_line(error)}")


def _line(error: BaseException) -> str:
    text = (str(error).splitlines() or [""])[0].strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


async def settled(futures: list[Awaitable[T]]) -> list[T]:
    """Return all results; the first failure is raised once every future has ended."""
    results = await asyncio.gather(*futures, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results  # type: ignore[return-value]  # no exception is left in it


def swallow_unretrieved(loop: asyncio.AbstractEventLoop) -> None:
    """Keep quiet about failures of futures that belong to a producer already thrown away.

    A fenced or cut-off producer fails its futures long after anybody waits for them, and asyncio
    would log "Future exception was never retrieved" for each. What mattered was raised elsewhere.
    """
    before = loop.get_exception_handler()

    def handle(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if isinstance(context.get("exception"), kafka_errors.KafkaError):
            return
        if before is not None:
            before(loop, context)
        else:
            loop.default_exception_handler(context)

    loop.set_exception_handler(handle)
