"""A TCP proxy between a client and a Kafka broker that loses and holds up what it is told to.

It reads the frames of the protocol: a request begins with its size, API key, version and
correlation id, an answer with its size and correlation id. The broker must lead its clients through
it (`tests.broker`, PROXIED).
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum

LONGEST_S = 30.0  # for an answer that a late request still gets


class Api(IntEnum):
    """API keys of the Kafka protocol: those that a transactional worker needs to commit."""

    PRODUCE = 0
    FIND_COORDINATOR = 10
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


class Kind(StrEnum):
    """What happens to a request."""

    RESET_BEFORE = "connection reset, the request never arrives"
    RESET_AFTER = "the request arrives, connection reset instead of an answer"
    SWALLOWED = "the request arrives, no answer ever comes, the connection stays open"
    DELAYED = "the answer comes late"
    HELD = "the request arrives late, and so does the answer"
    LATE = "connection reset, the request arrives after all, later"


@dataclass
class Fault:
    """What happens to a request: the next one of this API, after `skip` of them."""

    kind: Kind
    api: Api
    skip: int = 0
    delay_s: float = 0.0
    release: asyncio.Event | None = None  # instead of `delay_s`
    fired: asyncio.Event = field(default_factory=asyncio.Event)
    done: asyncio.Event = field(default_factory=asyncio.Event)

    def let_go(self) -> None:
        """Release what is held up."""
        assert self.release is not None
        self.release.set()

    async def held(self) -> None:
        """Wait as long as it holds a request, or an answer, up."""
        if self.release is None:
            await asyncio.sleep(self.delay_s)
        else:
            await self.release.wait()


class Proxy:
    """Forwards from one address to another; faults are used up, first in, first out."""

    def __init__(self, target: str) -> None:
        self._target = target.split(":")[0], int(target.split(":")[1])
        self._faults: list[Fault] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def arm(self, *faults: Fault) -> None:
        """Add faults; only the first one that is left is waited for."""
        self._faults += faults

    def accept(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        """Serve a connection."""
        task = asyncio.create_task(self._serve(client, back))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Cut every connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        writers: list[asyncio.StreamWriter] = [back]
        pumps: list[asyncio.Task[None]] = []
        waiting: dict[int, Fault] = {}
        try:
            broker, forth = await asyncio.open_connection(*self._target)
            writers.append(forth)
            pumps += [
                asyncio.create_task(self._requests(client, back, forth, waiting)),
                asyncio.create_task(self._answers(broker, back, waiting)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            for fault in waiting.values():
                if fault.kind is Kind.LATE:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(fault.done.wait(), LONGEST_S)
        except OSError:
            pass  # the broker is away, which the client finds out by itself
        finally:
            for writer in writers:
                reset(writer)
            for pump in pumps:
                pump.cancel()

    async def _requests(
        self,
        client: asyncio.StreamReader,
        back: asyncio.StreamWriter,
        forth: asyncio.StreamWriter,
        waiting: dict[int, Fault],
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await frame_of(client)
                api, _, correlation = struct.unpack_from(">hhi", frame, 4)
                fault = self._due(api)
                if fault is not None:
                    fault.fired.set()
                    waiting[correlation] = fault
                    if fault.kind in (Kind.RESET_BEFORE, Kind.LATE):
                        reset(back)
                    if fault.kind is Kind.RESET_BEFORE:
                        return
                    if fault.kind in (Kind.HELD, Kind.LATE):
                        await fault.held()
                forth.write(frame)
                await forth.drain()
                if fault is not None and fault.kind is Kind.LATE:
                    return

    def _due(self, api: int) -> Fault | None:
        if not self._faults or self._faults[0].api != api:
            return None
        if self._faults[0].skip:
            self._faults[0].skip -= 1
            return None
        return self._faults.pop(0)

    async def _answers(
        self, broker: asyncio.StreamReader, back: asyncio.StreamWriter, waiting: dict[int, Fault]
    ) -> None:
        silent = False
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await frame_of(broker)
                (correlation,) = struct.unpack_from(">i", frame, 4)
                fault = waiting.get(correlation)
                if fault is not None:
                    fault.done.set()
                    if fault.kind in (Kind.RESET_AFTER, Kind.LATE):
                        return
                    # Nor any later answer: the client would see a gap, and close.
                    silent |= fault.kind is Kind.SWALLOWED
                    if fault.kind is Kind.DELAYED:
                        await fault.held()
                if not silent:
                    back.write(frame)
                    await back.drain()


async def frame_of(reader: asyncio.StreamReader) -> bytes:
    """Return one frame, with its size."""
    size = await reader.readexactly(4)
    return size + await reader.readexactly(struct.unpack(">i", size)[0])


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection as a crash of the other side does, with RST."""
    connection = writer.get_extra_info("socket")
    if not writer.is_closing():
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()


@contextlib.asynccontextmanager
async def proxy_at(address: str, target: str) -> AsyncIterator[Proxy]:
    """Run a proxy from an address to a target."""
    proxy = Proxy(target)
    host, port = address.split(":")
    server = await asyncio.start_server(proxy.accept, host, int(port))
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
