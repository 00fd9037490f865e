"""A view of a cluster is judged: what is unsafe is named, with what to do."""

from dataclasses import replace
from typing import Any

import pytest

from aurora_batch import diagnosis
from aurora_batch.cluster_view import (
    Api,
    ClusterView,
    OpenTransaction,
    Place,
    TopicView,
    Transaction,
)
from aurora_batch.findings import Finding
from aurora_batch.settings import KafkaSettings, Settings

NOW_US = 1_767_268_800_000_000
NAME = "aurora-aurora-aurora.requests-shard-0-of-1"
CONFIG = {
    "cleanup.policy": "delete",
    "retention.ms": "604800000",
    "retention.bytes": "-1",
    "min.insync.replicas": "2",
    "max.message.bytes": "1048588",
}


def topic(name: str, **said: str) -> TopicView:
    """A good topic; `_` in a key stands for a dot."""
    config = CONFIG | {key.replace("_", "."): value for key, value in said.items()}
    return TopicView(f"aurora.{name}", 4, 3, 3, config=config)


def good() -> ClusterView:
    """A cluster about which nothing is to be said."""
    topics = [topic(n) for n in ("requests", "decisions", "requests.dlq", "outcomes")]
    topics.append(topic("ledger", cleanup_policy="compact"))
    return ClusterView(
        brokers=3,
        features={"metadata.version": 27},
        apis=(Api("Produce", (0, 7), (0, 13)), Api("EndTxn", (0, 0), (0, 5))),
        topics={t.name: t for t in topics},
        broker_config={
            "transaction.max.timeout.ms": "900000",
            "offsets.retention.minutes": "10080",
        },
        places={p: Place(0, 10, 7) for p in range(4)},
        transactions=(Transaction(NAME, "CompleteCommit", 30_000),),
        held_back=(),
        ledgers=frozenset({NAME}),
        newest_us=NOW_US,
    )


def judged(view: ClusterView, **kafka: Any) -> list[Finding]:
    """What is not ok."""
    settings = Settings(kafka=KafkaSettings(**kafka))
    shards = {NAME: range(4)}
    found = diagnosis.findings(view, settings, shards, now_us=NOW_US, recommit_s=3600.0)
    return [f for f in found if f.status != "ok"]


def with_topic(changed: TopicView) -> ClusterView:
    """The good cluster with one topic changed."""
    view = good()
    return replace(view, topics={**view.topics, changed.name: changed})


def test_a_good_cluster_needs_nothing() -> None:
    """All is ok."""
    assert judged(good()) == []


UNSAFE = {
    "ledger deleted": (with_topic(topic("ledger", cleanup_policy="delete")), "cleanup.policy=comp"),
    "ledger both": (with_topic(topic("ledger", cleanup_policy="compact,delete")), "cleanup.policy"),
    "requests compacted": (with_topic(topic("requests", cleanup_policy="compact")), "=delete"),
    "decisions compacted": (with_topic(topic("decisions", cleanup_policy="compact")), "=delete"),
    "letters compacted": (with_topic(topic("requests.dlq", cleanup_policy="compact")), "=delete"),
    "requests kept too short": (with_topic(topic("requests", retention_ms="30000")), "retention"),
    "replies too large": (with_topic(topic("decisions", max_message_bytes="100000")), "max.mess"),
    "unpacked there": (with_topic(topic("decisions", compression_type="uncompressed")),
                       "compression.type=producer"),
    "no leader": (with_topic(replace(topic("requests"), leaderless=(2,))), "start the brokers"),
    "too few in sync": (with_topic(replace(topic("ledger", cleanup_policy="compact"), in_sync=1)),
                        "start the brokers"),
    "no decisions": (replace(good(), topics={n: t for n, t in good().topics.items()
                                             if n != "aurora.decisions"}), "topics create"),
    "no transactions": (replace(good(), apis=(Api("EndTxn", (0, 0), None),)), "off"),
    "no version in common": (replace(good(), apis=(Api("Fetch", (0, 11), (12, 18)),)), "another"),
    "transaction timeout": (replace(good(), broker_config={"transaction.max.timeout.ms": "20000"}),
                            "20000 or less"),
    "offsets forgotten": (replace(good(), broker_config={"offsets.retention.minutes": "60"}),
                          "10080"),
    "offset below": (replace(good(), places={0: Place(5, 10, 4)}), "kafka.group"),
    "offset above": (replace(good(), places={0: Place(5, 10, 11)}), "kafka.group"),
    "no ledger": (replace(good(), ledgers=frozenset()), "ledger"),
    "transaction left open": (
        replace(good(), transactions=(
            Transaction(NAME, "Ongoing", 30_000, NOW_US // 1000 - 95_000),)), "start the worker"),
    "hanging transaction": (
        replace(good(), held_back=(OpenTransaction("aurora.decisions", 0, 7, False),)), "abort"),
    "clock far ahead": (replace(good(), newest_us=NOW_US + 400_000_000), "synchronize"),
}  # fmt: skip


@pytest.mark.parametrize(("view", "todo"), UNSAFE.values(), ids=UNSAFE)
def test_what_is_unsafe_says_what_to_do(view: ClusterView, todo: str) -> None:
    """One finding, unsafe, with its remedy."""
    (finding,) = judged(view)

    assert finding.status == "unsafe"
    assert todo in finding.todo


WARNINGS = {
    "one replica": with_topic(replace(topic("decisions", min_insync_replicas="1"), replicas=1,
                                      in_sync=1)),
    "one in sync is enough": with_topic(topic("decisions", min_insync_replicas="1")),
    "one behind": with_topic(replace(topic("decisions"), in_sync=2)),
    "requests kept short": with_topic(topic("requests", retention_ms="300000")),
    "requests by size": with_topic(topic("requests", retention_bytes="1000000000")),
    "offsets kept short": replace(good(), broker_config={"offsets.retention.minutes": "600"}),
    "no outcomes": replace(good(), topics={n: t for n, t in good().topics.items()
                                           if n != "aurora.outcomes"}),
    "never committed": replace(good(), ledgers=frozenset(),
                               places={p: Place(0, 10, None) for p in range(4)}),
    "other shards": replace(good(), transactions=(Transaction(NAME[:-1] + "2", "Empty"),)),
    "version not said": replace(good(), features={}),
    "clock ahead": replace(good(), newest_us=NOW_US + 20_000_000),
    "not seen": replace(good(), transactions=None, held_back=None, unseen=("transactions: no",)),
}  # fmt: skip


@pytest.mark.parametrize("view", WARNINGS.values(), ids=WARNINGS)
def test_what_is_to_be_watched_is_a_warning(view: ClusterView) -> None:
    """One finding, no more, with its remedy."""
    (finding,) = judged(view)

    assert finding.status == "warning"
    assert finding.todo


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ({"bootstrap": "localhost:1,127.0.0.1:2,[::1]:3"}, None),
        ({"bootstrap": "broker:9092"}, "warning"),
        ({"bootstrap": "localhost:1,broker:9092"}, "warning"),
        ({"bootstrap": "broker:9092", "security_protocol": "SSL"}, None),
        ({"bootstrap": "broker:9092", "security_protocol": "SASL_SSL", "sasl_mechanism": "PLAIN"},
         None),
        ({"bootstrap": "broker:9092", "security_protocol": "SASL_PLAINTEXT",
          "sasl_mechanism": "SCRAM-SHA-512"}, "warning"),
        ({"bootstrap": "broker:9092", "security_protocol": "SASL_PLAINTEXT",
          "sasl_mechanism": "PLAIN"}, "unsafe"),
    ],
)  # fmt: skip
def test_what_can_be_read_on_the_way_is_said(said: dict[str, Any], status: str | None) -> None:
    """Requests in the clear are a warning, a password in the clear is unsafe."""
    assert [f.status for f in judged(good(), **said)] == ([] if status is None else [status])


def test_settings_that_leave_no_time_are_found() -> None:
    """A fetch must end before it is given up, a commit leave time to try again."""
    waits = judged(good(), fetch_max_wait_ms=20_000)
    tries = judged(good(), request_timeout_ms=20_000)
    once = judged(good(), transactional="off")

    assert [[f.status for f in found] for found in (waits, tries, once)] == [
        ["unsafe"], ["warning"], ["warning"]
    ]  # fmt: skip


def test_a_shard_without_partitions_is_unsafe() -> None:
    """Five workers on four partitions: the fifth refuses to start."""
    found = diagnosis.findings(good(), Settings(), {NAME: []}, now_us=NOW_US, recommit_s=3600.0)

    assert [f.todo for f in found if f.status == "unsafe"] == ["more partitions, or fewer shards"]


def test_versions_are_negotiated() -> None:
    """The highest that both have, none where there is none."""
    assert Api("x", (0, 7), (3, 13)).negotiated == 7
    assert Api("x", (0, 13), (0, 7)).negotiated == 7
    assert Api("x", (0, 2), (3, 13)).negotiated is None
