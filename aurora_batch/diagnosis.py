"""What `aurora doctor` says about a cluster: what is well, what to watch, what is unsafe.

Pure: a view of the cluster and the settings go in, findings come out. Unsafe is what loses
requests, decides them twice or stops a shard; each finding that is not ok says what to do.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_address

from aurora_batch.cluster_view import ClusterView, Place, Transaction
from aurora_batch.diagnosis_topics import broker_findings, topic_findings
from aurora_batch.findings import Finding, ok, unsafe, warning
from aurora_batch.settings import KafkaSettings, Settings

# Levels of metadata.version and the release that brought each; a level beyond is that or later.
RELEASES = ((7, "3.3"), (8, "3.4"), (9, "3.5"), (12, "3.6"), (15, "3.7"), (20, "3.8"), (21, "3.9"),
            (22, "4.0"), (26, "4.1"))  # fmt: skip
TRANSACTIONAL = ("InitProducerId", "AddPartitionsToTxn", "AddOffsetsToTxn", "EndTxn",
                 "TxnOffsetCommit")  # fmt: skip
GRACE_S = 60.0  # beyond its timeout, after which the broker ought to have ended a transaction
AHEAD_S = 1.0


def findings(
    view: ClusterView,
    settings: Settings,
    shards: Mapping[str, Sequence[int]],
    *,
    now_us: int,
    recommit_s: float,
) -> Iterator[Finding]:
    """Yield what there is to say.

    Parameters
    ----------
    shards
        Partitions of the topic of requests by the identity of the shard that owns them.
    now_us
        UTC microseconds of this machine.
    recommit_s
        Seconds after which a quiet worker commits its offsets again.
    """
    yield from security(settings.kafka)
    yield _version(view)
    yield from _apis(view, settings.kafka)
    yield from topic_findings(view, settings)
    yield from broker_findings(view.broker_config, settings, recommit_s)
    yield from _settings(settings.kafka)
    yield from _places(view.places, settings.kafka)
    yield from _shards(view, shards)
    yield from _transactions(view, now_us)
    yield _clock(view.newest_us, now_us, settings.router.max_clock_skew_s)
    for line in view.unseen:
        yield warning("not seen", line, "grant DESCRIBE, or look at the broker itself")


def security(kafka: KafkaSettings) -> Iterator[Finding]:
    """Yield whether what goes over the network can be read there."""
    hosts = [
        address.strip().rpartition(":")[0].strip("[]") for address in kafka.bootstrap.split(",")
    ]
    remote = [host for host in hosts if not _is_loopback(host)]
    said, todo = kafka.security_protocol, "kafka.security_protocol SASL_SSL, or SSL"
    if not remote or said.endswith("SSL"):
        yield ok("security", f"{said}{'' if remote else ', on this machine'}")
    elif kafka.sasl_mechanism == "PLAIN":
        yield unsafe("security", f"{said}: user and password go unencrypted to {remote[0]}", todo)
    else:
        yield warning("security", f"{said}: requests go unencrypted to {remote[0]}", todo)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _version(view: ClusterView) -> Finding:
    level = view.features.get("metadata.version")
    if level is None:
        todo = "nothing, if the rest is ok; Kafka 3.3 and newer in KRaft mode says it"
        return warning("broker", f"{view.brokers} brokers, version not said", todo)
    releases = [release for least, release in RELEASES if level >= least]
    name = f"Kafka {releases[-1]}" if releases else "older than Kafka 3.3"
    later = " or later" if level > RELEASES[-1][0] else ""
    return ok("broker", f"{view.brokers} brokers, metadata.version {level} ({name}{later})")


def _apis(view: ClusterView, kafka: KafkaSettings) -> Iterator[Finding]:
    needed = [a for a in view.apis if kafka.transactional != "off" or a.name not in TRANSACTIONAL]
    for api in needed:
        if api.negotiated is None:
            theirs = "none" if api.theirs is None else f"{api.theirs[0]} to {api.theirs[1]}"
            what = f"{api.name}: the broker has versions {theirs}, the client {api.ours[0]} to "
            todo = "another release of the broker or of aiokafka"
            if api.name in TRANSACTIONAL:
                todo += ", or kafka.transactional off (at least once)"
            yield unsafe("requests", f"{what}{api.ours[1]}", todo)
    said = ", ".join(f"{a.name} {a.negotiated}" for a in needed if a.negotiated is not None)
    yield ok("requests", said)
    if kafka.transactional == "off":
        what = "kafka.transactional off: after a crash requests are decided twice"
        yield warning("transactions", what, "kafka.transactional auto, where the broker has them")


def _settings(kafka: KafkaSettings) -> Iterator[Finding]:
    if kafka.fetch_max_wait_ms >= kafka.request_timeout_ms:
        what = f"kafka.fetch_max_wait_ms {kafka.fetch_max_wait_ms} >= request_timeout_ms"
        todo = "a fetch wait well below kafka.request_timeout_ms"
        yield unsafe("settings", f"{what}: a fetch that finds nothing fails", todo)
    if kafka.request_timeout_ms * 2 > kafka.transaction_timeout_ms:
        what = f"kafka.request_timeout_ms {kafka.request_timeout_ms} is more than half of "
        todo = "request_timeout_ms at most half of transaction_timeout_ms"
        yield warning("settings", f"{what}transaction_timeout_ms: no time to try again", todo)


def _places(places: Mapping[int, Place], kafka: KafkaSettings) -> Iterator[Finding]:
    """The group's offsets: within what the broker holds, and how far behind."""
    check, lags = f"group {kafka.group}", {}
    for partition, place in places.items():
        if place.committed is None:
            lags[partition] = place.stable - place.first
        elif place.first <= place.committed <= place.stable:
            lags[partition] = place.stable - place.committed
        else:
            what = (
                f"committed offset {place.committed} of {kafka.topics.requests}/{partition} lies "
                f"outside of what the broker holds, {place.first} to {place.stable}"
            )
            todo = "find out what was lost; another kafka.group begins at the earliest"
            yield unsafe(check, what, todo)
    if lags:
        shown = ", ".join(f"{partition}: {lag:,}" for partition, lag in lags.items())
        fresh = [str(p) for p, place in places.items() if place.committed is None]
        new = f"; nothing committed yet in {', '.join(fresh)}" if fresh else ""
        yield ok(check, f"{sum(lags.values()):,} records behind ({shown}){new}")


def _shards(view: ClusterView, shards: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    """Each shard: partitions, offsets, ledger; and whether others than these have written."""
    for name, partitions in shards.items():
        places = [view.places[p] for p in partitions if p in view.places]
        committed = [place for place in places if place.committed is not None]
        check = f"shard {_short(name)}"
        if not partitions:
            todo = "more partitions, or fewer shards"
            yield unsafe(check, "owns no partition: its worker refuses to start", todo)
        elif committed and name not in view.ledgers:
            what = "has committed offsets and no ledger: a takeover begins with whole capacity"
            yield unsafe(check, what, "find out who wrote these offsets, or deleted the ledger")
        elif not committed and places:
            yield warning(check, "has never committed", "start a worker with this --shard")
        elif places:
            yield ok(check, f"partitions {', '.join(map(str, partitions))}; ledger there")
    others = [
        t.name for t in view.transactions or () if "-shard-" in t.name and t.name not in shards
    ]
    if others:
        what = f"also seen in the last days: {', '.join(map(_short, others))}"
        todo = "run shards of one number only; pass it as --shards N"
        yield warning("shards", what, todo)


def _short(identity: str) -> str:
    """Return `I/N` of an identity."""
    return identity.rpartition("-shard-")[2].replace("-of-", "/")


def _transactions(view: ClusterView, now_us: int) -> Iterator[Finding]:
    for t in view.transactions or ():
        age_s = None if t.began_ms is None else max(0.0, now_us / 1e6 - t.began_ms / 1e3)
        yield _transaction(t, age_s)
    for held in view.held_back or ():
        if not held.coordinated:
            what = (
                f"{held.topic}/{held.partition} is held back by a transaction of producer "
                f"{held.producer} that no coordinator knows"
            )
            todo = "kafka-transactions.sh find-hanging, then abort"
            yield unsafe("hanging transaction", what, todo)


def _transaction(t: Transaction, age_s: float | None) -> Finding:
    check = f"transactional id {t.name}"
    if age_s is None or t.timeout_ms is None:
        return ok(check, t.state)
    said = f"{t.state} for {age_s:.1f} s, timeout {t.timeout_ms / 1000:g} s"
    if age_s > t.timeout_ms / 1000 + GRACE_S:
        what = f"{said}: readers of read_committed wait for it (or the clocks differ)"
        todo = "start the worker of this id: it ends the transaction of its predecessor"
        return unsafe(check, what, todo)
    return ok(check, said)


def _clock(newest_us: int | None, now_us: int, most_s: float) -> Finding:
    """Compare this machine's clock with the timestamps that producers gave to requests.

    Kafka's answers hold no time. A request from the future shows that its producer's clock is ahead
    of ours; one from the past shows nothing.
    """
    check = "clock"
    if newest_us is None:
        return ok(check, "no request to compare with; Kafka itself tells no time")
    ahead_s = (newest_us - now_us) / 1e6
    if ahead_s <= AHEAD_S:
        return ok(check, "no request is from the future; a clock that is behind cannot be seen")
    what = f"the newest request was recorded {ahead_s:.0f} s from now"
    todo = "synchronize the clocks of this machine and of the producers"
    return (unsafe if ahead_s > most_s else warning)(check, what, todo)
