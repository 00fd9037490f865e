"""Requests of Kafka's protocol that aiokafka has no words for, each in its first flexible version.

Source: the message definitions of Apache Kafka (clients/src/main/resources/common/message), KIP-584
(features), KIP-664 (transactions).
"""

import inspect
import io
from typing import Any

from aiokafka.protocol import commit, coordination, fetch, offset, produce, transaction
from aiokafka.protocol.admin import ApiVersionRequest_v0
from aiokafka.protocol.api import Request, RequestStruct, Response, ResponseHeader_v0
from aiokafka.protocol.types import (
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Int64,
    Schema,
    TaggedFields,
)

API_VERSIONS, DESCRIBE_PRODUCERS, DESCRIBE_TRANSACTIONS, LIST_TRANSACTIONS = 18, 61, 65, 66
_TEXT = CompactString("utf-8")
_TAGS = ("tags", TaggedFields)
_FINALIZED = 2  # tag
_FEATURES = CompactArray(("name", _TEXT), ("max", Int16), ("min", Int16), _TAGS)

# What the worker asks for: name -> key.
USED = {
    "Produce": 0,
    "Fetch": 1,
    "ListOffsets": 2,
    "OffsetCommit": 8,
    "OffsetFetch": 9,
    "FindCoordinator": 10,
    "InitProducerId": 22,
    "AddPartitionsToTxn": 24,
    "AddOffsetsToTxn": 25,
    "EndTxn": 26,
    "TxnOffsetCommit": 28,
}


def spoken() -> dict[int, tuple[int, int]]:
    """Return the lowest and highest version of each of `USED` that aiokafka speaks."""
    versions: dict[int, tuple[int, int]] = {}
    for module in (commit, coordination, fetch, offset, produce, transaction):
        for _, kind in inspect.getmembers(module, inspect.isclass):
            if issubclass(kind, Request) and kind is not Request:
                # What is sent is one of these; more versions are defined than are used.
                known = [c.API_VERSION for c in kind._CLASSES]  # type: ignore[attr-defined]  # noqa: SLF001
                versions[kind.API_KEY] = min(known), max(known)  # type: ignore[attr-defined]
    return {key: versions[key] for key in USED.values()}


class _ApiVersionsResponse(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = API_VERSIONS, 3
    SCHEMA = Schema(
        ("error_code", Int16),
        ("api_versions", CompactArray(("key", Int16), ("min", Int16), ("max", Int16), _TAGS)),
        ("throttle_time_ms", Int32),
        _TAGS,
    )


class _ApiVersionsRequest(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION = API_VERSIONS, 3, True
    RESPONSE_TYPE = _ApiVersionsResponse
    SCHEMA = Schema(("name", _TEXT), ("version", _TEXT), _TAGS)

    def parse_response_header(self, read_buffer: Any) -> Any:
        """Return the header; of this answer alone it is never a flexible one."""
        return ResponseHeader_v0.decode(read_buffer)


class ApiVersions(Request[ApiVersionRequest_v0 | _ApiVersionsRequest]):  # type: ignore[misc]
    """Which versions a broker speaks, and which features the cluster has."""

    API_KEY = API_VERSIONS

    def build(self, kind: Any) -> Any:
        """Return the request of a version."""
        return kind() if kind is ApiVersionRequest_v0 else kind("aurora-batch", "1", {})


def features_of(answer: Any) -> dict[str, int]:
    """Return the finalized feature levels of an answer to `ApiVersions`, by name."""
    packed = getattr(answer, "tags", {}).get(_FINALIZED)
    if packed is None:
        return {}
    return {name: level for name, level, *_ in _FEATURES.decode(io.BytesIO(packed)) or []}


class _ListTransactionsResponse(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = LIST_TRANSACTIONS, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        ("error_code", Int16),
        ("unknown_states", CompactArray(_TEXT)),
        ("states", CompactArray(("id", _TEXT), ("producer", Int64), ("state", _TEXT), _TAGS)),
        _TAGS,
    )


class _ListTransactionsRequest(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION = LIST_TRANSACTIONS, 0, True
    RESPONSE_TYPE = _ListTransactionsResponse
    SCHEMA = Schema(("states", CompactArray(_TEXT)), ("producers", CompactArray(Int64)), _TAGS)


class ListTransactions(Request[_ListTransactionsRequest]):  # type: ignore[misc]
    """All transactional ids that one broker coordinates."""

    API_KEY = LIST_TRANSACTIONS

    def build(self, kind: Any) -> Any:
        """Return the request of a version."""
        return kind([], [], {})


class _DescribeTransactionsResponse(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = DESCRIBE_TRANSACTIONS, 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "states",
            CompactArray(
                ("error_code", Int16),
                ("id", _TEXT),
                ("state", _TEXT),
                ("timeout_ms", Int32),
                ("start_time_ms", Int64),
                ("producer", Int64),
                ("epoch", Int16),
                (
                    "topics",
                    CompactArray(("topic", _TEXT), ("partitions", CompactArray(Int32)), _TAGS),
                ),
                _TAGS,
            ),
        ),
        _TAGS,
    )


class _DescribeTransactionsRequest(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION = DESCRIBE_TRANSACTIONS, 0, True
    RESPONSE_TYPE = _DescribeTransactionsResponse
    SCHEMA = Schema(("ids", CompactArray(_TEXT)), _TAGS)


class DescribeTransactions(Request[_DescribeTransactionsRequest]):  # type: ignore[misc]
    """State, timeout and start of some transactional ids; asked of their coordinator."""

    API_KEY = DESCRIBE_TRANSACTIONS

    def __init__(self, ids: list[str]) -> None:
        self._ids = ids

    def build(self, kind: Any) -> Any:
        """Return the request of a version."""
        return kind(self._ids, {})


class _DescribeProducersResponse(Response):  # type: ignore[misc]
    API_KEY, API_VERSION = DESCRIBE_PRODUCERS, 0
    _PRODUCER = (
        ("producer", Int64),
        ("epoch", Int32),
        ("last_sequence", Int32),
        ("last_timestamp", Int64),
        ("coordinator_epoch", Int32),
        ("transaction_start", Int64),
        _TAGS,
    )
    _PARTITION = (
        ("partition", Int32),
        ("error_code", Int16),
        ("error_message", _TEXT),
        ("producers", CompactArray(*_PRODUCER)),
        _TAGS,
    )
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "topics",
            CompactArray(("topic", _TEXT), ("partitions", CompactArray(*_PARTITION)), _TAGS),
        ),
        _TAGS,
    )


class _DescribeProducersRequest(RequestStruct):  # type: ignore[misc]
    API_KEY, API_VERSION, FLEXIBLE_VERSION = DESCRIBE_PRODUCERS, 0, True
    RESPONSE_TYPE = _DescribeProducersResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic", _TEXT), ("partitions", CompactArray(Int32)), _TAGS)),
        _TAGS,
    )


class DescribeProducers(Request[_DescribeProducersRequest]):  # type: ignore[misc]
    """Who writes to a partition, and where its open transaction begins; asked of its leader."""

    API_KEY = DESCRIBE_PRODUCERS

    def __init__(self, topic: str, partition: int) -> None:
        self._asked: list[Any] = [(topic, [partition], {})]

    def build(self, kind: Any) -> Any:
        """Return the request of a version."""
        return kind(self._asked, {})
