"""The storm: workers that are killed again and again while requests come and a reader watches.

Every worker is a process of its own. A *life* of it ends by SIGKILL, at a seeded moment after its
start, after its takeover, or at a named point of the commit protocol; the next life begins at once.
Requests are let in by the number of kills, so that every life finds work. Where that is over, each
worker dies twice more while the others run on, the second time in mid-transaction: so long do
readers wait for a successor that has the machine almost to itself.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from pipelines.audit import audit
from tests.storm.checker import Checker, Found
from tests.storm.load import PARTITIONS, Load, feeder, prepare
from tests.storm.reader import LiveReader, read_again
from tests.streaming import CLI, StreamProcess, cluster_of, until

# Names of the specification -> of `tests.crashing`.
POINTS = {
    "after poll": "after poll",
    "after decode": "after decode",
    "after solve": "after solve",
    "after produce acknowledgement": "after acknowledgement",
    "after offsets added": "after offsets",
    "commit sent": "commit sent",
    "commit answered": "after commit",
    "after all": "after all",
}
STARTING = 0.15  # share of random kills that strike while a worker starts or takes over
LIFE_S = (0.05, 1.5)  # of the other lives, from the takeover on
START_S = (0.3, 2.5)  # of those, from the start of the process on
STUCK_S = 60.0  # without any progress
SLICE = 1_000  # requests sent at once
HUNGRY_S = 1.0  # with hardly anything to do, until some more are sent

When = Literal["starting", "running", "point"]


@dataclass(frozen=True)
class Life:
    """How a life is to end."""

    when: When
    after_s: float = 0.0
    point: str = ""
    count: int = 1  # the how-manieth time it gets to the point
    alone: bool = False  # no other worker starts at that time


ALONE = (
    Life("running", 0.3, alone=True),
    Life("point", point="after produce acknowledgement", count=2, alone=True),
)


def lives(kills: int, points: Sequence[str], shards: int, seed: int) -> list[list[Life]]:
    """Return the lives of each shard: `kills` random ends and one at each point, shuffled."""
    rng = np.random.default_rng(seed)
    all_lives = [Life("point", point=p, count=int(rng.integers(1, 4))) for p in points]
    for _ in range(kills):
        starting = rng.random() < STARTING
        span = START_S if starting else LIFE_S
        all_lives.append(Life("starting" if starting else "running", float(rng.uniform(*span))))
    order = rng.permutation(len(all_lives))
    return [[all_lives[i] for i in order[s::shards]] for s in range(shards)]


@dataclass
class Kill:
    """What a kill did."""

    shard: int
    life: Life
    wall: float
    at: float  # monotonic
    unblocked_s: float | None = None  # until the next committed decision of the shard was read


@dataclass
class Result:
    """What a storm did and what was found."""

    kills: list[Kill] = field(default_factory=list)
    starts_s: list[float] = field(default_factory=list)  # from process to takeover
    decided: int = 0
    audited: int = 0  # decisions that were made again offline
    seconds: float = 0.0
    found: Found = field(default_factory=Found)
    demand: float = 0.0  # over capacity
    pool_use: float = 0.0
    budget_use: float = 0.0

    def unblocked_s(self, *, alone: bool) -> list[float]:
        """Return seconds from kills to the next committed decision of the shard.

        Only where no other kill of the same shard came between, and there was work left.
        """
        return [
            k.unblocked_s for k in self.kills if k.unblocked_s is not None and k.life.alone is alone
        ]

    def at_point(self, point: str) -> int:
        """Return how many died at a point."""
        return sum(k.life.point == point for k in self.kills)


class Storm:
    """`run` it once.

    Parameters
    ----------
    folder
        For settings of the workers.
    plan
        Lives of each shard that end by a kill.
    alone
        Lives of each shard after those, one shard after the other; then one more runs to the end.

    Attributes
    ----------
    planned
        Kills.
    progress
        Told kills and distinct decisions read so far.
    """

    def __init__(
        self, load: Load, folder: Path, plan: Sequence[Sequence[Life]],
        alone: Sequence[Life] = ALONE,
    ) -> None:  # fmt: skip
        self._load = load
        self._folder = folder
        self._plan = plan
        self._alone = alone
        self.progress: Callable[[int, int], object] = lambda *_: None
        self._workers: dict[int, StreamProcess] = {}
        self._pending: dict[int, Kill] = {}
        self.planned = sum(map(len, plan)) + len(plan) * len(alone)
        self._over = asyncio.Event()  # everything is decided, or nothing moves
        self._together = asyncio.Barrier(len(plan))
        self._turn = asyncio.Lock()
        self.result = Result()
        settings = load.settings
        self._topic = settings.kafka.topics.decisions
        self._bootstrap = settings.kafka.bootstrap
        self._reader = LiveReader(
            self._bootstrap, self._topic, PARTITIONS, self._checker(), self._read
        )

    def _checker(self) -> Checker:
        return Checker(self._load, len(self._plan))

    async def run(self) -> Result:
        """Run to the end, or until nothing moves any more."""
        await prepare(self._load)
        began = time.monotonic()
        with self._reader:
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._feed())
                    tasks.create_task(self._watch())
                    for shard, plan in enumerate(self._plan):
                        tasks.create_task(self._live(shard, plan))
            finally:
                for process in self._workers.values():
                    await process.kill()
            await self._settle()
        self.result.seconds = time.monotonic() - began
        await asyncio.to_thread(self._conclude)
        if self._load.settings.kafka.transactional != "off":
            await self._audit()
        return self.result

    async def _audit(self) -> None:
        """Make every decision again, by one router that nobody ever killed."""
        settings = self._load.settings
        audited = await audit(cluster_of(settings), settings)
        self.result.audited = audited.decisions
        for line in audited.differences:
            self.result.found.add("not what an undisturbed worker decides", line)

    async def _feed(self) -> None:
        """Send requests as kills go on; where all that was sent is decided, slowly some more."""
        planned, count, sent = self.planned, self._load.requests.num_rows, 0
        hungry = time.monotonic()
        async with feeder(self._load) as send:
            while sent < count:
                allowed = count * (len(self.result.kills) + 4) / (planned + 4)
                now = time.monotonic()
                if self._reader.decided < sent - SLICE:
                    hungry = now
                if sent + SLICE > allowed and now - hungry < HUNGRY_S and sent + SLICE < count:
                    await asyncio.sleep(0.05)
                    continue
                hungry = now
                await send(sent, min(count, sent + SLICE))
                sent += SLICE

    async def _watch(self) -> None:
        """Tell the progress; end the storm when all is decided, or nothing moves."""
        before, since = (-1, -1), time.monotonic()
        while True:
            now = len(self.result.kills), self._reader.decided
            self.progress(*now)
            if now != before:
                before, since = now, time.monotonic()
            done = now == (self.planned, self._load.requests.num_rows)
            if done or time.monotonic() - since > STUCK_S:
                self._over.set()
                return
            await asyncio.sleep(0.1)

    async def _live(self, shard: int, plan: Sequence[Life]) -> None:
        for life in plan:
            await self._die(shard, self._start(shard, life), life)
        process = await self._die_alone(shard)
        await self._over.wait()
        process.signal(15)
        if code := await asyncio.wait_for(process.ended(), STUCK_S):
            self.result.found.add("stop failed", f"exit {code}: {process.output[-300:]}")

    async def _die_alone(self, shard: int) -> StreamProcess:
        """Return the worker that lives on, once it has decided something."""
        first, *others = [*self._alone, None]
        process = self._start(shard, first)
        await self._taken_over(process)
        # Together, so that nobody starts while another's wait for a successor is measured.
        await self._together.wait()
        async with self._turn:
            for life, following in pairwise([first, *others]):
                assert life is not None
                await self._die(shard, process, life, begun=life is first)
                process = self._start(shard, following)
            if self._alone:
                await self._taken_over(process)
                await until(lambda: self._unblocked(shard))
        return process

    async def _unblocked(self, shard: int) -> bool:
        return self._pending[shard].unblocked_s is not None or self._over.is_set()

    async def _die(
        self, shard: int, process: StreamProcess, life: Life, *, begun: bool = False
    ) -> None:
        try:
            await asyncio.wait_for(self._end(process, life, begun), STUCK_S)
        except TimeoutError:
            self.result.found.add("point not reached", f"{life.point} of shard {shard}")
        finally:
            await process.kill()
        self._killed(shard, life)

    def _start(self, shard: int, life: Life | None = None) -> StreamProcess:
        module = ("tests.crashing", POINTS.get(life.point, life.point), str(life.count)) if (
            life and life.point
        ) else CLI  # fmt: skip
        options = ("--shard", f"{shard}/{len(self._plan)}")
        folder = self._folder / str(shard)
        process = StreamProcess(self._load.settings, folder, *options, module=module)
        self._workers[shard] = process
        return process

    async def _end(self, process: StreamProcess, life: Life, begun: bool) -> None:
        if life.when == "point":
            if (code := await process.ended()) != -9:
                self.result.found.add("worker failed", f"exit {code}: {process.output[-300:]}")
            return
        if life.when == "running" and not begun:
            await self._taken_over(process)
        await asyncio.sleep(life.after_s)
        if not process.running:
            await process.ended()
            self.result.found.add("worker failed", process.output[-300:])

    async def _taken_over(self, process: StreamProcess) -> None:
        began = time.monotonic()
        await process.line_with("begins at")
        self.result.starts_s.append(time.monotonic() - began)

    def _killed(self, shard: int, life: Life) -> None:
        # Before its end was noticed a point's death is some milliseconds old; that is all.
        kill = Kill(shard, life, time.time(), time.monotonic())
        self.result.kills.append(kill)
        self._pending[shard] = kill

    def _read(self, shard: str, written: float, at: float) -> None:
        """Note what the reader saw; runs in its thread."""
        kill = self._pending.get(int(shard.partition("/")[0] or 0))
        if kill is not None and kill.unblocked_s is None and written > kill.wall:
            kill.unblocked_s = at - kill.at

    async def _settle(self) -> None:
        """Wait until the reader has everything that is there, also what nobody expects."""
        for _ in range(100):
            await asyncio.sleep(0.1)
            if self._reader.at_end:
                return

    def _conclude(self) -> None:
        result, live = self.result, self._reader
        again = read_again(self._bootstrap, self._topic, PARTITIONS, self._checker(), STUCK_S)
        if again.digest != live.digest:
            result.found.add("read otherwise afterwards", f"{again.digest} != {live.digest}")
        for found in (live.checker.finish(), again.checker.finish()):
            for kind, count in found.counts.items():
                result.found.counts[kind] = max(result.found.counts[kind], count)
                result.found.examples[kind] = found.examples[kind]
        result.decided = live.decided
        result.pool_use = live.checker.pool_use
        result.budget_use = live.checker.budget_use
