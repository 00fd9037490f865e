"""The topics: whether they are there, copied, kept long enough, and take what is sent."""

from collections.abc import Iterator, Mapping

from aurora_batch.cluster_view import ClusterView, TopicView
from aurora_batch.findings import Finding, ok, unsafe, warning
from aurora_batch.replies import MAX_HEADERS, MAX_KEY, MAX_VALUE
from aurora_batch.settings import Settings

RECORD = MAX_VALUE + MAX_KEY + MAX_HEADERS + 1000  # bytes of the largest record batch of one record
WINDOWS = 10  # that requests should at least be kept for


def topic_findings(view: ClusterView, settings: Settings) -> Iterator[Finding]:
    """Yield what there is to say about each topic of the settings."""
    kafka = settings.kafka
    names = {f: getattr(kafka.topics, f) for f in kafka.topics.__struct_fields__}
    for role, name in names.items():
        topic = view.topics.get(name)
        if topic is None:
            todo = f"aurora topics create --kafka {kafka.bootstrap}"
            missing = unsafe if role != "outcomes" else warning  # nothing writes outcomes yet
            yield missing(f"topic {name}", "does not exist", todo)
            continue
        found = [f for check in CHECKS for f in check(role, topic, view, settings)]
        yield from found
        if not found:
            yield ok(f"topic {name}", _shown(topic))


def _shown(topic: TopicView) -> str:
    said = f"{topic.partitions} partitions, {topic.replicas} replicas"
    if topic.config is None:
        return said
    policy, keep = topic.config.get("cleanup.policy", "?"), topic.config.get("retention.ms", "-1")
    if policy != "delete":
        return f"{said}, {policy}"
    return f"{said}, kept {_days(int(keep))}"


def _days(ms: int) -> str:
    return "for ever" if ms < 0 else f"{ms / 86_400_000:.3g} days"


def _copies(role: str, topic: TopicView, view: ClusterView, _: Settings) -> Iterator[Finding]:
    """Leaders, replicas, and how many must have a record before it counts as written."""
    check = f"topic {topic.name}"
    least = int((topic.config or {}).get("min.insync.replicas", "1"))
    if topic.leaderless:
        shown = ", ".join(map(str, topic.leaderless))
        yield unsafe(check, f"no leader for partition {shown}", "start the brokers that hold it")
    elif topic.in_sync < least:
        what = f"{topic.in_sync} replicas in sync of a partition, min.insync.replicas {least}"
        yield unsafe(check, f"{what}: writes are refused", "start the brokers that are away")
    elif topic.in_sync < topic.replicas:
        what = f"{topic.in_sync} of {topic.replicas} replicas in sync"
        yield warning(check, what, "look at the broker that is behind or away")
    if view.brokers > 1 and topic.replicas < 2:
        yield warning(
            check, "1 replica: a lost disk loses it", "replication 3, where brokers allow"
        )
    if topic.replicas > 1 and least < 2:
        what = "min.insync.replicas 1: what one broker has counts as written"
        yield warning(check, what, "kafka-configs: min.insync.replicas=2")


def _cleanup(role: str, topic: TopicView, _: ClusterView, __: Settings) -> Iterator[Finding]:
    """Compaction keeps the last record of a key: right for the ledger, and for nothing else."""
    if topic.config is None:
        return
    policy = topic.config.get("cleanup.policy", "delete")
    said = {part.strip() for part in policy.split(",")}
    check, what = f"topic {topic.name}", f"cleanup.policy {policy}"
    if role == "ledger" and "delete" in said:
        what += ": the state of a quiet shard is deleted, and its capacity is given out twice"
        yield unsafe(check, what, "kafka-configs: cleanup.policy=compact")
    if role != "ledger" and "compact" in said:
        what += ": of records with one key only the last is kept"
        yield unsafe(check, what, "kafka-configs: cleanup.policy=delete")


def _retention(
    role: str, topic: TopicView, _: ClusterView, settings: Settings
) -> Iterator[Finding]:
    """Requests must last until they are read, and for the sample that a takeover reads again."""
    if topic.config is None or role == "ledger":
        return
    check, kept = f"topic {topic.name}", int(topic.config.get("retention.ms", "-1"))
    window_ms = settings.router.window_s * 1000
    if role == "requests" and 0 <= kept < window_ms * WINDOWS:
        what = f"kept {kept / 1000:g} s, a window is {settings.router.window_s:g} s"
        todo = f"kafka-configs: retention.ms={max(round(window_ms * WINDOWS), 86_400_000)} or more"
        grave = kept < window_ms
        yield (unsafe if grave else warning)(check, f"{what}: unread requests are lost", todo)
    if role in ("requests", "dead_letters") and int(topic.config.get("retention.bytes", "-1")) >= 0:
        what = f"retention.bytes {topic.config['retention.bytes']}: a burst deletes what is unread"
        yield warning(check, what, "kafka-configs: retention.bytes=-1, and watch the disk")


def _sizes(role: str, topic: TopicView, _: ClusterView, settings: Settings) -> Iterator[Finding]:
    """A reply that is refused comes back for ever."""
    if topic.config is None or role in ("requests", "outcomes"):
        return
    check = f"topic {topic.name}"
    most = int(topic.config.get("max.message.bytes", RECORD))
    if most < RECORD:
        what = f"max.message.bytes {most}: a large reply is refused, and stops its shard"
        yield unsafe(check, what, f"kafka-configs: max.message.bytes={RECORD}")
    unpacks = topic.config.get("compression.type", "producer") == "uncompressed"
    if unpacks and settings.kafka.compression != "none":
        what = "compression.type uncompressed: a batch is unpacked there, and refused if too large"
        yield unsafe(check, what, "kafka-configs: compression.type=producer")


CHECKS = (_copies, _cleanup, _retention, _sizes)


def broker_findings(
    config: Mapping[str, str] | None, settings: Settings, recommit_s: float
) -> Iterator[Finding]:
    """Yield what there is to say about settings of the broker that ours depend on.

    Parameters
    ----------
    recommit_s
        Seconds after which a quiet worker commits its offsets again.
    """
    if config is None:
        return
    ours, most = settings.kafka.transaction_timeout_ms, config.get("transaction.max.timeout.ms")
    check = "transaction timeout"
    if most is not None and ours > int(most):
        what = f"kafka.transaction_timeout_ms {ours}, the broker takes at most {most}"
        yield unsafe(check, f"{what}: no worker can start", f"set it to {most} or less")
    elif most is not None:
        yield ok(check, f"{ours / 1000:g} s, the broker takes at most {int(most) / 1000:g} s")
    minutes = config.get("offsets.retention.minutes")
    check = "offsets retention"
    if minutes is None:
        return
    what = f"{int(minutes) / 60:g} h after a group's last commit"
    if int(minutes) * 60 <= recommit_s:
        what += ": offsets of a quiet worker are forgotten, and all is decided again"
        yield unsafe(check, what, "offsets.retention.minutes=10080 at the broker")
    elif int(minutes) < 1440:
        what += ": after an outage of that length all is decided again"
        yield warning(check, what, "offsets.retention.minutes=10080 at the broker")
    else:
        yield ok(check, what)
