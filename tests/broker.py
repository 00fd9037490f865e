"""A real Apache Kafka: combined KRaft nodes on loopback, one or several, from its own jars.

    python -m tests.broker [PORT] [--nodes N]     in the foreground, until Ctrl-C (`make kafka`)

The jars are resolved once by Maven from `deploy/kafka/pom.xml` into a cached folder. A node can be
killed with SIGKILL and started again on its data.
"""

import argparse
import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

POM = Path(__file__).parents[1] / "deploy" / "kafka" / "pom.xml"
READY_S = 60.0
# As its own script starts it (bin/kafka-run-class.sh), with the regions that its operator's guide
# names: else a request of megabytes is an object of many regions, and while a backlog is worked off
# the collector has a core for itself.
ALONE = (
    "-Xms1g", "-Xmx1g", "-XX:+UseG1GC", "-XX:MaxGCPauseMillis=20", "-XX:G1HeapRegionSize=16m",
    "-XX:InitiatingHeapOccupancyPercent=35", "-XX:+ExplicitGCInvokesConcurrent",
    "-XX:MaxInlineLevel=15",
)  # fmt: skip
AMONG_OTHERS = ("-Xmx384m",)  # three of them share this machine
EXTERNAL = "AURORA_KAFKA"  # names somebody's broker, which tests then use where they kill none


def missing_tools() -> list[str]:
    """Return which programs a broker needs and this machine lacks."""
    return [tool for tool in ("java", "mvn") if shutil.which(tool) is None]


def jars() -> Path:
    """Return the folder of the broker's jars, resolved on first use."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    folder = cache / "aurora-batch" / f"kafka-{digest}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Renamed when complete: an interrupted download must not look like a finished one.
        part = Path(tempfile.mkdtemp(dir=folder.parent))
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={part}"]
        subprocess.run(["mvn", "-q", "-B", "-f", str(POM), *goal], check=True)
        with contextlib.suppress(OSError):  # another process was first
            part.rename(folder)
        shutil.rmtree(part, ignore_errors=True)
    return folder


_given: set[int] = set()  # ports that somebody has, even while nothing listens there


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, all different, none of them returned before."""
    ports: list[int] = []
    with contextlib.ExitStack() as stack:
        while len(ports) < count:
            s = stack.enter_context(socket.socket())
            s.bind(("127.0.0.1", 0))
            port = s.getsockname()[1]
            if port not in _given:
                ports.append(port)
    _given.update(ports)
    return ports


@dataclass(frozen=True)
class Seat:
    """The place of a node in its cluster."""

    cluster: str  # its id
    controllers: tuple[int, ...]  # ports, of all nodes
    index: int = 0

    @classmethod
    def all_of(cls, nodes: int) -> "list[Seat]":
        """Return the places of a new cluster."""
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        ports = tuple(free_ports(nodes))
        return [cls(cluster, ports, index) for index in range(nodes)]


class Broker:
    """One node; `start`, `kill`, `start` again on the same data.

    Parameters
    ----------
    folder
        For data, properties and log; made if absent.
    port
        To listen on; 0 for a free one.
    seat
        None where it is the only node.
    settings
        Of `server.properties`, beside or instead of those here.

    Attributes
    ----------
    bootstrap
        Where clients begin.
    behind_proxy, proxy
        A second listener, and the address that it tells its clients to come back to: where a test
        may run a proxy (`tests.fire.proxy`).
    """

    def __init__(
        self, folder: Path, port: int = 0, seat: Seat | None = None,
        settings: Mapping[str, str] = MappingProxyType({}),
    ) -> None:  # fmt: skip
        self._folder = folder
        self._settings = settings
        self._seat = seat or Seat.all_of(1)[0]
        broker, behind_proxy, proxy = free_ports(3)
        self.port = port or broker
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.behind_proxy = f"127.0.0.1:{behind_proxy}"
        self.proxy = f"127.0.0.1:{proxy}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "server.properties").write_text(self._properties())
        (folder / "log4j2.properties").write_text(
            "rootLogger.level=warn\nrootLogger.appenderRef.a.ref=A\n"
            "appender.a.type=Console\nappender.a.name=A\nappender.a.layout.type=PatternLayout\n"
            "appender.a.layout.pattern=%d %p %c{1}: %m%n\n"
        )
        # An id may begin with a dash.
        formatting = "format", f"--cluster-id={self._seat.cluster}", "-c", self._config
        self._run("kafka.tools.StorageTool", *formatting)

    def _properties(self) -> str:
        ports = self._seat.controllers
        copies, in_sync = str(min(3, len(ports))), str(min(2, len(ports)))
        own = f"CONTROLLER://127.0.0.1:{ports[self._seat.index]}"
        said = {
            "process.roles": "broker,controller",
            "node.id": str(self.node_id),
            "listeners": f"PLAINTEXT://{self.bootstrap},PROXIED://{self.behind_proxy},{own}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap},PROXIED://{self.proxy}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
            "PROXIED:PLAINTEXT",
            "controller.quorum.voters": ",".join(
                f"{number}@127.0.0.1:{port}" for number, port in enumerate(ports, 1)
            ),
            "log.dirs": str(self._folder / "data"),
            "num.partitions": "4",
            "auto.create.topics.enable": "false",
            "default.replication.factor": copies,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": copies,
            "share.coordinator.state.topic.min.isr": in_sync,
            "group.initial.rebalance.delay.ms": "0",
            # Until its old session has run out, a broker that was killed is refused.
            # Among several, one that is merely slow must not be.
            "broker.session.timeout.ms": "1500" if len(ports) == 1 else "4000",
            "broker.heartbeat.interval.ms": "500",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        }
        said |= self._settings
        return "".join(f"{key}={value}\n" for key, value in said.items())

    @property
    def node_id(self) -> int:
        """Counted from 1."""
        return self._seat.index + 1

    @property
    def pid(self) -> int:
        """Of its process, while it runs."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def _config(self) -> str:
        return str(self._folder / "server.properties")

    def _command(self, *arguments: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}"
        options = ALONE if len(self._seat.controllers) == 1 else AMONG_OTHERS
        return ["java", *options, "-cp", f"{jars()}/*", log4j, *arguments]

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            self._command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stdout.decode())

    def start(self) -> "Broker":
        """Start, and return when it answers."""
        self.launch()
        self.wait_until_ready()
        return self

    def launch(self) -> None:
        """Start, without waiting."""
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", self._config), stdout=log, stderr=log
            )

    def wait_until_ready(self, nodes: int = 1) -> None:
        """Return when it answers and knows of so many nodes."""
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            with contextlib.suppress(KafkaException):
                if len(client.list_topics(timeout=1).brokers) >= nodes:
                    return
        self.kill()
        raise RuntimeError((self._folder / "broker.log").read_text()[-4000:])

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def signal(self, number: int) -> None:
        """Send a signal, such as SIGSTOP."""
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> "Broker":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def wait(self) -> int:
        """Return its exit code when it ends."""
        assert self._process is not None
        return self._process.wait()


class Elsewhere(Broker):
    """Somebody's broker: an address, and nothing that could stop it."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._process = None

    def launch(self) -> None:
        """Refuse."""
        raise RuntimeError(f"{self.bootstrap} ({EXTERNAL}) is not ours to start")


class Brokers:
    """Several nodes as one cluster: every topic on up to three, writes in sync on two.

    Parameters
    ----------
    port
        Of the first node, the others follow; 0 for free ones.
    """

    def __init__(self, folder: Path, nodes: int, port: int = 0) -> None:
        ports = [port + i for i in range(nodes)] if port else free_ports(nodes)
        self.nodes = [
            Broker(folder / str(seat.index), own, seat)
            for seat, own in zip(Seat.all_of(nodes), ports, strict=True)
        ]
        self.bootstrap = ",".join(node.bootstrap for node in self.nodes)

    def node(self, node_id: int) -> Broker:
        """Return the node of an id."""
        return self.nodes[node_id - 1]

    def __enter__(self) -> "Brokers":
        try:
            for node in self.nodes:
                node.launch()
            for node in self.nodes:
                node.wait_until_ready(len(self.nodes))
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        for node in self.nodes:
            node.kill()

    def wait(self) -> int:
        """Return the exit code of the first node when it ends."""
        return self.nodes[0].wait()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a broker, or several, in the foreground."""
    parser = argparse.ArgumentParser(prog="python -m tests.broker", description=main.__doc__)
    parser.add_argument("port", type=int, nargs="?", default=9092, help="default: 9092")
    parser.add_argument("--nodes", type=int, default=1, help="default: 1")
    args = parser.parse_args(argv)
    if missing := missing_tools():
        sys.stderr.write(f"{' and '.join(missing)} not found; install a JDK >= 17 and Maven\n")
        return 1
    folder = Path(tempfile.mkdtemp(prefix="aurora-kafka-"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.stderr.write("==> starting Apache Kafka (the first time its jars are downloaded)\n")
        with Brokers(folder, args.nodes, args.port) as brokers:
            copies = f" --replication {min(3, args.nodes)}" if args.nodes > 1 else ""
            sys.stderr.write(
                f"==> ready at {brokers.bootstrap}; in another terminal:\n"
                f"    aurora topics create --kafka {brokers.bootstrap}{copies}\n"
                f"    aurora stream --kafka {brokers.bootstrap}\n==> Ctrl-C stops it\n"
            )
            return brokers.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
