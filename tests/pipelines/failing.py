"""A subcommand that fails as it is told, for the tests of the command line."""

import argparse
from typing import Any

from aurora_batch.errors import BrokerError, LogError, SettingsError
from pipelines import cli_options

ERRORS: dict[str, BaseException] = {
    "settings": SettingsError("f.yaml", "router.policy", "'x'", "one of greedy, global"),
    "log": LogError("log.parquet: no such file"),
    "broker": BrokerError("no broker answers at localhost:9092"),
    "interrupt": KeyboardInterrupt(),
    "permission": PermissionError(13, "Permission denied", "out/decisions.parquet"),
    "port": OSError(98, "Address already in use"),
    "extra": ModuleNotFoundError("No module named 'aiokafka.x'", name="aiokafka.x"),
    "module": ModuleNotFoundError("No module named 'typo'", name="typo"),
    "bug": ZeroDivisionError("a bug"),
}


def register(subparsers: Any) -> None:
    """Add the subcommand."""
    parser = subparsers.add_parser("fail", help="fail")
    parser.add_argument("how", choices=ERRORS)
    cli_options.common(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Raise."""
    raise ERRORS[args.how]
