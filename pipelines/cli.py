"""The `aurora` command: one module for each subcommand, imported when it is the one asked for."""

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import NoReturn

from aurora_batch.errors import AuroraError

# Name, module, and what the list of `aurora --help` says. Only the chosen module is imported, so
# that help and `aurora config` never wait for Numba; a test holds names and words to the modules'.
COMMANDS = (
    ("demo", "pipelines.demo", "the main path end to end on an embedded broker"),
    ("stream", "pipelines.stream", "requests from Kafka become decisions"),
    ("topics", "pipelines.topics", "create the topics"),
    ("shards", "pipelines.resplit", "show, or change, how a topic is divided between workers"),
    ("produce", "pipelines.produce", "send a request log to the topic of requests"),
    ("tail", "pipelines.tail", "print decisions as they come"),
    ("dlq", "pipelines.dlq", "list, show and send again what was no request"),
    (
        "doctor",
        "pipelines.doctor",
        "what is unsafe about broker, topics and settings, and what to do",
    ),
    ("replay", "pipelines.replay", "decide a request log offline"),
    (
        "wargame",
        "pipelines.wargame.command",
        "play outages and spikes, beside a clairvoyant",
    ),
    ("explain", "pipelines.explain", "why one batch of a log was decided as it was"),
    ("audit", "pipelines.audit", "make every committed decision again and compare"),
    ("import", "pipelines.traces", "turn a public trace into a request log"),
    ("config", "pipelines.config", "print the effective settings and where each came from"),
)
# Packages that an optional part needs, and the extra that brings them.
EXTRAS = {
    "aiokafka": "kafka",
    "confluent_kafka": "kafka",
    "cramjam": "kafka",
    "prometheus_client": "kafka",
    "matplotlib": "report",
}
INTERRUPTED = 130


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is; exit 2."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run `aurora`; return 0 done, 1 failed, 2 used wrongly, 130 interrupted.

    An expected failure is one line on stderr. A bug keeps its traceback.
    """
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except AuroraError as error:
        return _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:  # the reader has seen enough: `aurora tail | head`
        _settle_output()
        return 1
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        remedy = f"pip install 'aurora-batch[{EXTRAS[package]}]'"
        return _fail(f"{package} is not installed; {remedy}", 1)
    except OSError as error:
        if error.strerror is None:
            raise
        _settle_output()
        where = f"{error.filename}: " if error.filename is not None else ""
        return _fail(f"{where}{error.strerror}", 1)


def _run(argv: Sequence[str]) -> int:
    args = build_parser(argv).parse_args(argv)
    code = int(args.run(args))
    if sys.stdout is not None:  # a service may have closed it
        sys.stdout.flush()  # here, where a closed pipe can still be met quietly
    return code


def build_parser(argv: Sequence[str]) -> Parser:
    """Return the parser; only the subcommand that `argv` names has its options."""
    parser = Parser(
        prog="aurora",
        description="Batch router for GPU compute: requests become globally allocated decisions.",
        epilog=(
            "example:\n"
            "  aurora replay requests.parquet --out decisions.parquet --policy both\n\n"
            "`aurora COMMAND --help` shows the options of a command, with an example."
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"aurora {version('aurora-batch')}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    chosen = next((arg for arg in argv if not arg.startswith("-")), None)
    for name, module, text in COMMANDS:
        if name == chosen:
            import_module(module).register(subparsers)
        else:
            subparsers.add_parser(name, help=text)
    return parser


def _settle_output() -> None:
    """Write what is left of stdout, or drop it: a second error at exit would hide the first."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str, exit_code: int) -> int:
    sys.stderr.write(f"aurora: {message}\n")
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
