"""Options that every subcommand has, and the settings that they lead to."""

import argparse
import os
from pathlib import Path

from aurora_batch.configuration import Loaded, load_settings


def common(parser: argparse.ArgumentParser, *, figures: bool = True) -> None:
    """Add `--config`, `--set`, `--quiet`, and `--json` where the command reports `figures`."""
    group = parser.add_argument_group("settings and output")
    group.add_argument(
        "--config",
        type=Path,
        metavar="DIR",
        help="folder of router.yaml, providers.yaml, workloads.yaml (default: config/ if there)",
    )
    group.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting, such as router.batch.max_requests=100; may be repeated",
    )
    group.add_argument("--quiet", action="store_true", help="say nothing but results and errors")
    if figures:
        group.add_argument("--json", action="store_true", help="print figures as one JSON object")


def load(args: argparse.Namespace) -> Loaded:
    """Return the settings that options, environment and files say together.

    `--providers FILE`, where a command has it, stands for the folder's `providers.yaml`. Raises
    `SettingsError` and `UsageError` as `load_settings` does.
    """
    return load_settings(
        args.config,
        overrides=args.set,
        environ=os.environ,
        providers_file=getattr(args, "providers", None),
    )
