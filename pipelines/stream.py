"""`aurora stream`: the worker as a process, with signals, metrics, health and reload."""

import argparse
import asyncio
import gc
import logging
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from aurora_batch.configuration import DEFAULT_DIR, SUFFIXES, Loaded
from aurora_batch.fleet import Fleet, fleet_from_settings
from aurora_batch.metrics import Metrics
from pipelines import cli_options, health, kafka_options, logs
from pipelines.fleets import Fleets
from pipelines.shards import Shard
from pipelines.worker import Worker

log = logging.getLogger(__name__)

BEAT_S = 0.25
DEAD_S = 10.0  # without a beat of the event loop: not live


def register(subparsers: Any) -> None:
    """Add `aurora stream`."""
    parser = subparsers.add_parser(
        "stream",
        help="requests from Kafka become decisions",
        description=(
            "Run one worker: read requests from Kafka, decide them in micro-batches, write the\n"
            "decisions. SIGTERM or Ctrl-C: finish and commit what is in flight, exit 0. SIGHUP or\n"
            "a change of providers.yaml: reload the providers between two batches."
        ),
        epilog=(
            "examples:\n"
            "  aurora stream --kafka localhost:9092 --metrics-port 9100\n"
            "  aurora stream --shard 0/2     and, elsewhere,     aurora stream --shard 1/2"
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kafka_options.add(parser)
    parser.add_argument(
        "--shard",
        metavar="I/N",
        default="0/1",
        help="worker I of N: its part of the partitions, pools and budgets (default: 0/1)",
    )
    parser.add_argument("--policy", choices=["global", "greedy"], help="instead of router.policy")
    parser.add_argument(
        "--metrics-port", type=int, metavar="N", help="serve /metrics and /health (0: a free port)"
    )
    parser.add_argument(
        "--metrics-host", default="127.0.0.1", metavar="HOST", help="address to serve them at"
    )
    parser.add_argument(
        "--until-end",
        action="store_true",
        help="stop after the offsets that were the end at the start",
    )
    cli_options.common(parser, figures=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Run the worker until it is stopped."""
    logs.configure(quiet=args.quiet)
    shard = Shard.parse(args.shard)
    sys.setswitchinterval(SWITCH_S)
    asyncio.run(_run(args, shard))
    return 0


# Seconds after which a thread that runs Python lets another do so: with the usual 5 ms, each of the
# ten messages of a commit may wait for the thread that decides.
SWITCH_S = 5e-4


async def _run(args: argparse.Namespace, shard: Shard) -> None:
    loaded = _load(args)
    worker = worker_of(loaded, shard, lambda: _load(args), _providers_file(args.config))
    beat = Beat(worker.metrics)
    stop = asyncio.Event()
    with ExitStack() as stack:
        if args.metrics_port is not None:
            port = stack.enter_context(
                health.served(
                    args.metrics_host,
                    args.metrics_port,
                    worker.metrics.expose,
                    lambda: health_of(worker, beat),
                )
            )
            log.info("metrics at http://%s:%d/metrics", args.metrics_host, port)
        _handle_signals(stop, worker.fleets)
        for task in (beat.run(), worker.fleets.watch()):
            stack.callback(asyncio.create_task(task).cancel)
        log.info("compiling kernels")
        # Beside the takeover, which ends a dead predecessor's transaction: readers wait for that.
        worker.warm = asyncio.create_task(asyncio.to_thread(_warm_up, worker))
        await worker.run(stop, until_end=args.until_end)
    log.info(
        "stopped: %d requests decided, %d dead letters", worker.account.decided, worker.account.dead
    )


def _warm_up(worker: Worker) -> None:
    worker.warm_up()
    # What is there now stays: a full collection that visits all of it would stop a batch for long.
    gc.collect()
    gc.freeze()


def worker_of(
    loaded: Loaded,
    shard: Shard,
    reload: Callable[[], Loaded] | None = None,
    providers: Path | None = None,
) -> Worker:
    """Return a worker as settings describe it; `reload` reads them anew for a new fleet."""

    def fleet_of(loaded: Loaded) -> Fleet:
        return fleet_from_settings(shard.share(loaded.settings).providers)

    def changed(fleet: Fleet | None) -> None:
        worker.metrics.reloaded("refused" if fleet is None else "loaded")
        if fleet is not None:
            worker.metrics.fleet(fleet)

    load = None if reload is None else lambda: fleet_of(reload())
    fleets = Fleets(fleet_of(loaded), load, providers, changed)
    worker = Worker(kafka_options.cluster(loaded), loaded.settings, fleets, shard=shard)
    return worker


class Beat:
    """Measures how late the event loop wakes up; a loop that is stuck is not live."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._last: float | None = None
        self._clock: Callable[[], float] = asyncio.get_running_loop().time

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            began = self._last = self._clock()
            await asyncio.sleep(BEAT_S)
            late = max(0.0, self._clock() - began - BEAT_S)
            self._metrics.loop(late, len(asyncio.all_tasks()))

    @property
    def live(self) -> bool:
        """Whether the last beat is recent."""
        return self._last is not None and self._clock() - self._last < DEAD_S


def health_of(worker: Worker, beat: Beat) -> dict[str, Any]:
    """Return what `/health` says: live, ready, last batch's age in seconds, lag in records."""
    last = worker.last_commit
    return {
        "live": beat.live,
        "ready": worker.ready,
        "last_batch_age_s": None if last is None else round(worker.clock() - last, 3),
        "lag": sum(worker.lag.values()),
        "shard": str(worker.shard),
        "fleet": worker.fleets.current.version,
    }


def _load(args: argparse.Namespace) -> Loaded:
    policy = [f"router.policy={args.policy}"] if args.policy else []
    copied = argparse.Namespace(**{**vars(args), "set": [*args.set, *policy]})
    return kafka_options.load(copied)


def _providers_file(config: Path | None) -> Path:
    folder = DEFAULT_DIR if config is None else config
    paths = [folder / f"providers{suffix}" for suffix in SUFFIXES]
    return next((p for p in paths if p.exists()), paths[0])


def _handle_signals(stop: asyncio.Event, fleets: Fleets) -> None:
    loop = asyncio.get_running_loop()

    def end() -> None:
        log.info("stopping: finishing what is in flight")
        stop.set()
        # A second Ctrl-C interrupts at once.
        with suppress(ValueError):
            loop.remove_signal_handler(signal.SIGINT)
            signal.signal(signal.SIGINT, signal.default_int_handler)

    loop.add_signal_handler(signal.SIGTERM, end)
    loop.add_signal_handler(signal.SIGINT, end)
    loop.add_signal_handler(signal.SIGHUP, fleets.ask)
