"""A run that is watched: metrics served while it is played, step by step at a given pace."""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from aurora_batch.wargame.game import Game, Stage
from pipelines.health import served

PORT = 9110
PACE_S = 1.0  # from step to step, where metrics are served


@contextmanager
def watching(args: argparse.Namespace, game: Game) -> Iterator[Callable[[Stage], None]]:
    """Give what to call after each step; where metrics are served, linger at the end.

    Raises `AuroraError` at once where the port is taken.
    """
    pace = args.pace if args.pace is not None else PACE_S * (args.metrics is not None)
    if args.metrics is None:
        yield lambda stage: time.sleep(pace)
        return
    from pipelines.wargame.exporter import Exporter

    exporter = Exporter(game.players[-1].name, game.base)

    def watch(stage: Stage) -> None:
        exporter.note(stage)
        time.sleep(pace)

    with served(
        "127.0.0.1", args.metrics, exporter.expose, exporter.health, "--metrics PORT"
    ) as port:
        if not args.quiet:
            sys.stderr.write(
                f"metrics of {game.players[-1].name}: http://127.0.0.1:{port}/metrics\n"
            )
        yield watch
        if args.linger is None:
            while True:
                time.sleep(3600)
        time.sleep(args.linger)
