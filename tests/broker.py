"""A real Apache Kafka broker: one combined KRaft node on loopback, from its own jars.

    python -m tests.broker [PORT]      a broker in the foreground, until Ctrl-C (`make kafka`)

The jars are resolved once by Maven from `deploy/kafka/pom.xml` into a cached folder. A broker can
be killed with SIGKILL and started again on its data.
"""

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
from pathlib import Path

POM = Path(__file__).parents[1] / "deploy" / "kafka" / "pom.xml"
READY_S = 60.0


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


def free_ports(count: int) -> list[int]:
    """Return ports that are free now, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]


class Broker:
    """One node; `start`, `kill`, `start` again on the same data, `close`.

    Parameters
    ----------
    folder
        For data, properties and log; made if absent.
    port
        To listen on; 0 for a free one.

    Attributes
    ----------
    bootstrap
        Where clients begin.
    behind_proxy, proxy
        A second listener, and the address that it tells its clients to come back to: where a test
        may run a proxy (`tests.fire.proxy`).
    """

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder = folder
        broker, controller, behind_proxy, proxy = free_ports(4)
        self.port = port or broker
        self.bootstrap = f"127.0.0.1:{self.port}"
        self.behind_proxy = f"127.0.0.1:{behind_proxy}"
        self.proxy = f"127.0.0.1:{proxy}"
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "server.properties").write_text(self._properties(controller))
        (folder / "log4j2.properties").write_text(
            "rootLogger.level=warn\nrootLogger.appenderRef.a.ref=A\n"
            "appender.a.type=Console\nappender.a.name=A\nappender.a.layout.type=PatternLayout\n"
            "appender.a.layout.pattern=%d %p %c{1}: %m%n\n"
        )
        cluster = urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        self._run(
            "kafka.tools.StorageTool", "format", f"--cluster-id={cluster}", "-c", self._config
        )

    def _properties(self, controller: int) -> str:
        said = {
            "process.roles": "broker,controller",
            "node.id": "1",
            "listeners": f"PLAINTEXT://{self.bootstrap},PROXIED://{self.behind_proxy},"
            f"CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": f"PLAINTEXT://{self.bootstrap},PROXIED://{self.proxy}",
            "controller.listener.names": "CONTROLLER",
            "inter.broker.listener.name": "PLAINTEXT",
            "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,"
            "PROXIED:PLAINTEXT",
            "controller.quorum.voters": f"1@127.0.0.1:{controller}",
            "log.dirs": str(self._folder / "data"),
            "num.partitions": "4",
            "auto.create.topics.enable": "false",
            "offsets.topic.replication.factor": "1",
            "offsets.topic.num.partitions": "4",
            "transaction.state.log.replication.factor": "1",
            "transaction.state.log.min.isr": "1",
            "transaction.state.log.num.partitions": "4",
            "share.coordinator.state.topic.replication.factor": "1",
            "share.coordinator.state.topic.min.isr": "1",
            "group.initial.rebalance.delay.ms": "0",
            # Until its old session has run out, a broker that was killed is refused.
            "broker.session.timeout.ms": "1500",
            "broker.heartbeat.interval.ms": "500",
            "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        }
        return "".join(f"{key}={value}\n" for key, value in said.items())

    @property
    def _config(self) -> str:
        return str(self._folder / "server.properties")

    def _command(self, *arguments: str) -> list[str]:
        log4j = f"-Dlog4j2.configurationFile={self._folder / 'log4j2.properties'}"
        return ["java", "-Xmx512m", "-cp", f"{jars()}/*", log4j, *arguments]

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            self._command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
        )
        if done.returncode:
            raise RuntimeError(done.stdout.decode())

    def start(self) -> "Broker":
        """Start, and return when it answers."""
        with (self._folder / "broker.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command("kafka.Kafka", self._config), stdout=log, stderr=log
            )
        self._wait_until_ready()
        return self

    def _wait_until_ready(self) -> None:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        client = AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            with contextlib.suppress(KafkaException):
                if client.list_topics(timeout=1).brokers:
                    return
        self.kill()
        raise RuntimeError((self._folder / "broker.log").read_text()[-4000:])

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> "Broker":
        return self.start()

    def __exit__(self, *exc: object) -> None:
        self.kill()

    def wait(self) -> int:
        """Return its exit code when it ends."""
        assert self._process is not None
        return self._process.wait()


def main() -> int:
    """Run a broker in the foreground."""
    if missing := missing_tools():
        sys.stderr.write(f"{' and '.join(missing)} not found; install a JDK >= 17 and Maven\n")
        return 1
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 9092
    folder = Path(tempfile.mkdtemp(prefix="aurora-kafka-"))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        sys.stderr.write("==> starting Apache Kafka (the first time its jars are downloaded)\n")
        with Broker(folder, port) as broker:
            sys.stderr.write(
                f"==> ready at {broker.bootstrap}; in another terminal:\n"
                f"    aurora topics create --kafka {broker.bootstrap}\n"
                f"    aurora stream --kafka {broker.bootstrap}\n==> Ctrl-C stops it\n"
            )
            return broker.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
