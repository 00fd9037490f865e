"""`--kafka HOST:PORT` and `AURORA_KAFKA`, for every command that talks to a broker."""

import argparse
import os

from aurora_batch.adapters.kafka import Cluster
from aurora_batch.configuration import Loaded
from aurora_batch.errors import SettingsError
from pipelines import cli_options

VARIABLE = "AURORA_KAFKA"


def add(parser: argparse.ArgumentParser) -> None:
    """Add `--kafka`."""
    parser.add_argument(
        "--kafka",
        metavar="HOST:PORT",
        help=f"broker; {VARIABLE} says the same (default: kafka.bootstrap, localhost:9092)",
    )


def load(args: argparse.Namespace) -> Loaded:
    """Return the settings; `--kafka` wins over everything, `AURORA_KAFKA` over the files."""
    said = os.environ.get(VARIABLE)
    first = [f"kafka.bootstrap={said}"] if said else []
    last = [f"kafka.bootstrap={args.kafka}"] if args.kafka else []
    copied = argparse.Namespace(**{**vars(args), "set": [*first, *args.set, *last]})
    try:
        return cli_options.load(copied)
    except SettingsError as error:
        own = not any(text.startswith("kafka.bootstrap") for text in args.set)
        if error.key == "kafka.bootstrap" and (first or last) and own:
            source = "--kafka" if last else VARIABLE
            raise SettingsError(source, error.key, error.value, error.expected) from None
        raise


def cluster(loaded: Loaded) -> Cluster:
    """Return the cluster; user and password come from the environment."""
    return Cluster.of(loaded.settings.kafka, os.environ)
