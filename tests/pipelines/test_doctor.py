"""`aurora doctor` from outside: what it sees of a real broker, and what it cannot."""

import asyncio
import json
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete
from aiokafka.structs import TopicPartition

from aurora_batch.adapters.kafka import create_topics
from aurora_batch.settings import Settings
from tests.broker import Broker
from tests.pipelines.test_commands import aurora
from tests.pipelines.test_dlq import options
from tests.pipelines.test_exactly_once import prepared
from tests.streaming import cluster_of, drained, request, run, send, settings_for

SECRET = {"AURORA_KAFKA_USERNAME": "somebody", "AURORA_KAFKA_PASSWORD": "hunter2hunter2"}


def doctor(settings: Settings, *arguments: str) -> tuple[int, list[dict[str, str]]]:
    """Exit code and findings; the password is nowhere."""
    done = aurora("doctor", "--json", *arguments, *options(settings), environ=SECRET)
    assert done.stderr == ""
    assert SECRET["AURORA_KAFKA_PASSWORD"] not in done.stdout
    said = json.loads(done.stdout)
    assert (said["status"] == "unsafe") == bool(done.returncode)
    return done.returncode, said["findings"]


def wrong(found: list[dict[str, str]], status: str = "unsafe") -> list[tuple[str, str]]:
    """Check and remedy of what has a status."""
    return [(f["check"], f["todo"]) for f in found if f["status"] == status]


async def decided(broker: Broker, prefix: str, **said: Any) -> Settings:
    """Settings whose topics exist and whose requests are decided."""
    settings = await prepared(broker, prefix, **said)
    await send(settings, map(request, range(200)))
    await drained(settings)
    return settings


@pytest.mark.kafka
def test_good_topics_are_ok(kafka_broker: Broker) -> None:
    """Broker, versions, topics, offsets, ledger, transactions: nothing to do, exit 0."""
    settings = run(decided(kafka_broker, "well"))

    code, found = doctor(settings)

    assert (code, [f for f in found if f["status"] != "ok"]) == (0, [])
    said = {f["check"]: f["what"] for f in found}
    assert "metadata.version" in said["broker"]
    assert "InitProducerId 0" in said["requests"]
    assert "4 partitions, 1 replicas, compact" in said["topic well.ledger"]
    assert said["group aurora"].startswith("0 records behind")
    assert said["transactional id aurora-aurora-well.requests-shard-0-of-1"] == "CompleteCommit"
    assert said["shard 0/1"] == "partitions 0, 1, 2, 3; ledger there"


@pytest.mark.kafka
def test_a_ledger_that_is_deleted_is_unsafe(kafka_broker: Broker) -> None:
    """The policy is named, and what it should be."""

    async def go() -> Settings:
        settings = settings_for(kafka_broker.bootstrap, prefix="policy", transactional="auto")
        topics = settings.kafka.topics
        wanted: dict[str, dict[str, str]] = {
            getattr(topics, f): {} for f in topics.__struct_fields__
        }
        small = {topics.decisions: {"max.message.bytes": "1000"}}
        await create_topics(cluster_of(settings), wanted | small, 4, 1)
        return settings

    code, found = doctor(run(go()))

    assert code == 1
    assert ("topic policy.ledger", "kafka-configs: cleanup.policy=compact") in wrong(found)
    assert "topic policy.decisions" in dict(wrong(found))


@pytest.mark.kafka
def test_missing_topics_are_unsafe(kafka_broker: Broker) -> None:
    """The command that creates them is named, and looking creates none."""
    settings = settings_for(kafka_broker.bootstrap, prefix="absent", transactional="auto")

    first, second = doctor(settings), doctor(settings)

    for code, found in (first, second):
        remedies = dict(wrong(found))
        assert code == 1
        assert "aurora topics create" in remedies["topic absent.requests"]
        assert "aurora topics create" in remedies["topic absent.ledger"]


@pytest.mark.kafka
def test_an_offset_that_is_gone_is_unsafe(kafka_broker: Broker) -> None:
    """Records deleted before they were decided are noticed before the worker stops at them."""

    async def go() -> Settings:
        settings = await decided(kafka_broker, "gone")
        await send(settings, [request(i, gpu_type="a100") for i in range(100)])
        admin = AIOKafkaAdminClient(**cluster_of(settings).options)
        await admin.start()
        everything = {
            TopicPartition("gone.requests", p): RecordsToDelete(before_offset=-1) for p in range(4)
        }
        await admin.delete_records(everything)
        await admin.close()
        return settings

    code, found = doctor(run(go()))

    assert code == 1
    assert "kafka.group" in dict(wrong(found))["group aurora"]


@pytest.mark.kafka
def test_an_open_transaction_is_seen(kafka_broker: Broker) -> None:
    """Its state, its age and its timeout; young, it is nobody's fault, and has a coordinator."""

    async def go() -> list[dict[str, str]]:
        settings = await decided(kafka_broker, "open")
        name = "aurora-aurora-open.requests-shard-0-of-1"
        producer = AIOKafkaProducer(transactional_id=name, **cluster_of(settings).options)
        await producer.start()
        await producer.begin_transaction()
        await producer.send_and_wait("open.decisions", b"half")
        _, found = await asyncio.to_thread(doctor, settings)
        await producer.abort_transaction()
        await producer.stop()
        return found

    found = run(go())

    said = {f["check"]: f for f in found}
    assert "hanging transaction" not in said
    named = [f for name, f in said.items() if name.startswith("transactional id")]
    (mine,) = [f for f in named if f["what"].startswith("Ongoing for ")]
    assert "shard-0-of-1" in mine["check"] or "0/1" in mine["check"]


@pytest.mark.kafka
def test_shards_and_timeouts_are_held_against_the_broker(kafka_broker: Broker) -> None:
    """Five shards on four partitions, another number than before, a timeout that is refused."""
    settings = run(decided(kafka_broker, "many"))

    five = doctor(settings, "--shards", "5")[1]
    late = doctor(settings, "--set", "kafka.transaction_timeout_ms=1000000")[1]

    assert ("shard 4/5", "more partitions, or fewer shards") in wrong(five)
    assert "shards" in dict(wrong(five, "warning"))
    assert dict(wrong(late))["transaction timeout"] == "set it to 900000 or less"


def test_what_an_old_broker_cannot_say_is_a_warning(embedded: str) -> None:
    """The embedded broker tells neither versions, configuration nor transactions."""
    settings = settings_for(embedded)
    run(send(settings, [request(0)]))
    run(drained(settings))

    code, found = doctor(settings)

    assert code == 0, wrong(found)
    unseen = [f["what"].partition(":")[0] for f in found if f["check"] == "not seen"]
    assert sorted(unseen) == [
        "configuration of the broker", "configuration of topics", "producers of partitions",
        "transactions",
    ]  # fmt: skip


def test_quiet_leaves_what_needs_doing(embedded: str) -> None:
    """Lines of a pipe have status, check, finding and remedy."""
    settings = settings_for(embedded)

    done = aurora("doctor", "--quiet", *options(settings))

    rows = [line.split("\t") for line in done.stdout.splitlines()]
    assert {row[0] for row in rows} == {"warning"}
    assert {len(row) for row in rows} == {4}


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--kafka", "127.0.0.1:1"), 1, "no broker answers at 127.0.0.1:1"),
        (("--shards", "0"), 2, "--shards 0: expected a number >= 1"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: tuple[str, ...], code: int, said: str) -> None:
    """No broker is one line and exit 1, no traceback."""
    done = aurora("doctor", *arguments)

    (line,) = done.stderr.splitlines()
    assert (done.returncode, said in line) == (code, True), line
