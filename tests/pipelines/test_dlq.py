"""`aurora dlq`: what died is listed and shown, and sent again once, whatever dies in between."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from aurora_batch import dead_letters, schema
from aurora_batch.adapters.kafka import Sink
from aurora_batch.errors import BrokerError
from aurora_batch.schema import Message
from aurora_batch.settings import Settings
from pipelines import redrive
from tests import requests
from tests.aurora_batch.schema.payloads import BAD
from tests.broker import Broker
from tests.pipelines.test_commands import aurora
from tests.pipelines.test_exactly_once import prepared
from tests.streaming import (
    cluster_of,
    decisions_of,
    drained,
    records_of,
    request,
    run,
    send,
    settings_for,
)

ARROW = ("content-type", schema.ARROW_CONTENT_TYPE.encode())
LENIENT = ("--set", "router.max_clock_skew_s=31622400")
SKEWED = (datetime.now(UTC) + timedelta(days=100)).isoformat()  # ahead of any record
KINDS = (
    "tombstone", "empty", "truncated", "two objects", "array", "text", "byte order mark", "utf-16",
    "lone surrogate", "NaN", "beyond float", "no gpu_hours", "null gpu_type", "text for gpu_hours",
    "list for weights", "negative hours", "reputation of 101", "30 February",
)  # fmt: skip


def lenient(settings: Settings) -> Settings:
    """Settings under which a clock may be ahead by a year: the cause is gone."""
    router = msgspec.structs.replace(settings.router, max_clock_skew_s=31_622_400)
    return msgspec.structs.replace(settings, router=router)


def skewed(number: int) -> Message:
    """A request whose clock is ahead."""
    return request(number, requested_at=SKEWED)


def payload_of_rows(name: str) -> Message:
    """An Arrow payload of three rows, the middle one's clock ahead."""
    rows: list[dict[str, Any]] = [{"request_id": f"{name}-{i}"} for i in range(3)]
    rows[1]["requested_at"] = datetime.fromisoformat(SKEWED)
    return Message(
        schema.encode_requests_arrow(requests.table(rows)), b"a100", (ARROW, ("ce_id", b"7"))
    )


def options(settings: Settings) -> list[str]:
    """Options that name the broker and the topics of settings."""
    topics = settings.kafka.topics
    return [
        "--kafka",
        settings.kafka.bootstrap,
        *(f"--set=kafka.topics.{f}={getattr(topics, f)}" for f in topics.__struct_fields__),
        f"--set=kafka.transactional={settings.kafka.transactional}",
    ]


def dlq(settings: Settings, action: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `aurora dlq`; it ends well."""
    done = aurora("dlq", action, *arguments, *options(settings))
    assert done.returncode == 0, done.stderr
    return done


def listed(settings: Settings, *arguments: str) -> list[dict[str, Any]]:
    """What `aurora dlq list --json` says."""
    return [json.loads(x) for x in dlq(settings, "list", "--json", *arguments).stdout.splitlines()]


def redriven(settings: Settings, *arguments: str) -> int:
    """How many `aurora dlq redrive --yes` sends."""
    done = dlq(settings, "redrive", "--yes", "--json", *arguments)
    return int(json.loads(done.stdout)["sent"])


def decided(settings: Settings) -> Counter[str]:
    """How often each request was decided."""
    return Counter(d["request_id"] for d in run(decisions_of(settings)))


def test_letters_are_listed_chosen_and_shown(embedded: str) -> None:
    """Code, place, reason and size; filters; all about one, with its original bytes."""
    settings = settings_for(embedded)
    bad = [request(1, gpu_hours=-3), Message(b"\x1b[2J{", b"k"), payload_of_rows("p")]
    run(send(settings, [request(0), *bad]))
    run(drained(settings))

    letters = {x["code"]: x for x in listed(settings)}
    lines = dlq(settings, "list", "--code", "out_of_range")
    shown = dlq(settings, "show", place(letters["out_of_range"]))
    garbage = dlq(settings, "show", place(letters["malformed"]))
    row = json.loads(dlq(settings, "show", place(letters["clock_skew"]), "--json").stdout)

    assert set(letters) == {"out_of_range", "malformed", "clock_skew"}
    assert letters["out_of_range"]["topic"] == "aurora.requests"
    assert letters["out_of_range"]["bytes"] == len(bad[0].value or b"")
    assert letters["out_of_range"]["schema_version"] == 1
    assert (letters["clock_skew"]["row"], row["headers"]["ce_id"]) == (1, "7")
    assert letters["malformed"]["row"] is None
    (line,) = lines.stdout.splitlines()
    assert line.split("\t")[1] == "out_of_range"
    assert "1  out_of_range" in lines.stderr
    assert '"gpu_hours": -3' in shown.stdout
    assert "\\x1b[2J{" in garbage.stdout
    assert "\x1b" not in garbage.stdout
    assert len(listed(settings, "--count", "2")) == 2
    assert listed(settings, "--since", "2045-01-01T00:00:00Z") == []
    assert len(listed(settings, "--since", "1h")) == 3
    assert sum(len(listed(settings, "--partition", str(p))) for p in range(4)) == 3
    summary = json.loads(dlq(settings, "list", "--summary", "--json").stdout)
    assert summary == {
        "letters": 3,
        "codes": {"clock_skew": 1, "malformed": 1, "out_of_range": 1},
    }


def place(letter: dict[str, Any]) -> str:
    """The place of a listed letter, as `show` and `--offset` take it."""
    parts = [letter[name] for name in ("topic", "partition", "offset", "row")]
    return ":".join(str(part) for part in parts if part is not None)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("show", "1:2:3:4"), 1, "no dead letter of 1:2:3:4"),
        (("show", "1:2"), 1, "no dead letter of aurora.requests:1:2"),
        (("show", "x"), 2, "expected [TOPIC:]PARTITION:OFFSET[:ROW]"),
        (("list", "--since", "soon"), 2, "--since soon: expected a duration"),
        (("list", "--count", "0"), 2, "--count 0"),
        (("redrive", "--yes", "--dry-run"), 2, "expected one of them"),
        (("redrive", "--offset", "7"), 2, "--offset 7: expected"),
        (("list", "--kafka", "127.0.0.1:1"), 1, "no broker answers at 127.0.0.1:1"),
    ],
)
def test_what_is_wrong_is_one_line(
    embedded: str, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Exit 2 where used wrongly, 1 where something fails; no traceback."""
    kafka = () if "--kafka" in arguments else ("--kafka", embedded)
    done = aurora("dlq", *arguments, *kafka)

    (line,) = done.stderr.splitlines()
    assert (done.returncode, said in line) == (code, True), line


def test_redrive_says_first_and_sends_once(embedded: str) -> None:
    """Nothing is sent without --yes, nothing twice, and only what is valid now."""
    settings = settings_for(embedded)
    run(send(settings, [skewed(0), skewed(1), request(2, gpu_hours=-1)]))
    run(drained(settings))

    dry = dlq(settings, "redrive", *LENIENT)
    still = redriven(settings)
    one = place(listed(settings, "--code", "clock_skew")[0])
    counts = [
        redriven(settings, *LENIENT, "--offset", one),
        redriven(settings, *LENIENT),
        redriven(settings, *LENIENT),
    ]
    run(drained(lenient(settings)))

    assert "2 dead letters would be sent again" in dry.stdout
    assert "1  out_of_range: not sent, would be a dead letter again" in dry.stdout
    assert (still, counts) == (0, [1, 1, 0])
    assert decided(settings) == {"r0": 1, "r1": 1}
    assert [x["redriven"] for x in listed(settings, "--code", "clock_skew")] == [True, True]


def test_what_fails_again_is_a_new_letter(embedded: str) -> None:
    """With the place of its second death, and where it was sent again from."""
    settings = settings_for(embedded)
    run(send(settings, [request(0, gpu_hours=-1)]))
    run(drained(settings))
    first = listed(settings)[0]

    assert redriven(settings, "--force") == 1
    run(drained(settings))

    old, new = listed(settings)
    assert (old["redriven"], old["offset"]) == (True, first["offset"])
    assert (new["redriven"], new["redriven_from"]) == (False, place(first))
    assert new["offset"] > first["offset"]


def test_a_duplicate_is_sent_again_only_by_name(embedded: str) -> None:
    """The request of its id was decided; whoever wants it twice has to say so."""
    settings = settings_for(embedded)
    run(send(settings, [request(0), request(0)]))
    run(drained(settings))

    assert redriven(settings, "--force") == 0
    assert redriven(settings, "--code", "duplicate_request") == 1


def poisoned(count: int) -> tuple[list[Message], int]:
    """Ordinary requests with 5 % poison of 20 kinds, and how many poisons."""
    messages, bad = [], 0
    kinds = (*KINDS, "clock", "row")
    for i in range(count):
        messages.append(request(i))
        if i % 20 == 19:
            kind = kinds[bad % len(kinds)]
            bad += 1
            if kind == "row":
                messages.append(payload_of_rows(f"p{i}"))
            else:
                said = skewed(100_000 + i).value if kind == "clock" else BAD[kind][0]
                messages.append(Message(said, (b"a100", b"h100", b"4090")[bad % 3]))
    return messages, bad


async def timed(settings: Settings) -> float:
    """Seconds that a worker takes for what is there."""
    began = time.perf_counter()
    await drained(settings)
    return time.perf_counter() - began


@pytest.mark.kafka
@pytest.mark.timeout(240)
def test_poison_dies_once_and_is_decided_once_when_its_cause_is_gone(kafka_broker: Broker) -> None:
    """5 % of 20 kinds: each once in the dead letters, all neighbours decided, redrive exact."""
    count = 8000
    messages, bad = poisoned(count)

    async def decide() -> Settings:
        warm = await prepared(kafka_broker, "warm", batch=1000)
        clean = await prepared(kafka_broker, "clean", batch=1000)
        settings = await prepared(kafka_broker, "mixed", batch=1000)
        for of in (warm, clean):
            await send(of, map(request, range(count)))
        await drained(warm)  # compiles
        await send(settings, messages)
        alone, mixed = await timed(clean), await timed(settings)
        print(f"\n5 % poison: {alone / mixed * 1.05:.2f} of the records/s without")  # noqa: T201
        return settings

    settings = asyncio.run(asyncio.wait_for(decide(), 200))

    topics = settings.kafka.topics
    sent = {(r.partition, r.offset): r for r in run(records_of(settings, topics.requests))}
    letters = [dead_letters.read(r) for r in run(records_of(settings, topics.dead_letters))]
    places = Counter(letter.source for letter in letters if letter)
    assert (len(letters), len(places)) == (bad, bad)
    for letter in letters:
        assert letter is not None
        original = sent[letter.source.partition, letter.source.offset]
        assert letter.code
        assert letter.detail
        assert letter.schema_version == schema.SCHEMA_VERSION
        assert letter.source.row is not None or letter.record.value == original.value
    before = decided(settings)
    neighbours = {f"r{i}" for i in range(count)}
    assert neighbours <= set(before)
    assert set(before.values()) == {1}

    valid = [x for x in listed(settings) if x["code"] == "clock_skew"]
    assert redriven(settings, *LENIENT) == len(valid) == 2 * bad // 20
    assert redriven(settings, *LENIENT) == 0
    asyncio.run(asyncio.wait_for(drained(lenient(settings)), 60))
    after = decided(settings)
    assert set(after.values()) == {1}
    assert len(after) == len(before) + len(valid)
    assert before.items() <= after.items()


def again(settings: Settings, *module: str) -> int:
    """Run `redrive --yes` by a module; return its exit code."""
    arguments = ("dlq", "redrive", "--yes", *LENIENT, *options(settings))
    return subprocess.run(
        [sys.executable, "-m", *module, *arguments],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        timeout=90,
        check=False,
    ).returncode


@pytest.mark.kafka
@pytest.mark.timeout(240)
@pytest.mark.parametrize("point", ["in transaction", "after offsets", "after commit"])
def test_a_redrive_that_dies_sends_nothing_twice(kafka_broker: Broker, point: str) -> None:
    """SIGKILL in the second of three transactions, then again: every request once."""
    count, name = 1200, point.replace(" ", "-")

    async def die(messages: Iterable[Message]) -> Settings:
        settings = await prepared(kafka_broker, f"redrive-{name}", batch=1000)
        await send(settings, messages)
        await drained(settings)
        return settings

    settings = run(die(skewed(i) for i in range(count)))

    assert again(settings, "tests.crashing", point, "2") == -signal.SIGKILL
    first = len(run(records_of(settings, settings.kafka.topics.requests))) - count
    assert again(settings, "pipelines.cli") == 0
    run(drained(lenient(settings)))

    assert 0 < first < count
    assert decided(settings) == {f"r{i}": 1 for i in range(count)}


@pytest.mark.kafka
def test_a_mark_behind_an_open_transaction_is_waited_for(kafka_broker: Broker) -> None:
    """Readers do not see it yet; a redrive that did not wait would send the request again."""

    async def go() -> tuple[set[str], int]:
        settings = await prepared(kafka_broker, "covered")
        cluster, topics = cluster_of(settings), settings.kafka.topics
        await send(settings, [skewed(0)])
        await drained(settings)
        everything = dead_letters.chooser()
        (letter,) = (await redrive.scan(cluster, settings, everything)).letters
        other = AIOKafkaProducer(transactional_id="somebody", **cluster.options)
        await other.start()
        await other.begin_transaction()
        for p in range(4):
            await other.send_and_wait(topics.dead_letters, b"half", partition=p)
        sink = Sink(cluster, await cluster.partitions([topics.dead_letters]))
        await sink.open()
        await sink.send(sink.stage({topics.dead_letters: dead_letters.marks([letter])}))
        await sink.close()
        hidden = (await redrive.scan(cluster, settings, everything)).redriven

        again = asyncio.create_task(
            redrive.redrive(cluster, lenient(settings), everything, (), force=True)
        )
        await asyncio.wait([again], timeout=1)
        await other.abort_transaction()
        await other.stop()
        return hidden, len((await again).identities)

    assert run(go()) == (set(), 0)


@pytest.mark.kafka
def test_two_redrives_at_once_send_each_letter_once(kafka_broker: Broker) -> None:
    """The younger fences the older, or finds its marks."""
    count = 600

    async def go() -> Settings:
        settings = await prepared(kafka_broker, "both", batch=1000)
        await send(settings, map(skewed, range(count)))
        await drained(settings)
        eased, cluster = lenient(settings), cluster_of(settings)
        both = (
            redrive.redrive(cluster, eased, dead_letters.chooser(), (), force=False)
            for _ in range(2)
        )
        ends = await asyncio.gather(*both, return_exceptions=True)
        assert all(isinstance(end, redrive.Plan | BrokerError) for end in ends), ends
        await redrive.redrive(cluster, eased, dead_letters.chooser(), (), force=False)
        await drained(eased)
        return settings

    settings = run(go())

    assert decided(settings) == {f"r{i}": 1 for i in range(count)}
