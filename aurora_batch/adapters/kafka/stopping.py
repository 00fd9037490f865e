"""Consumers that are stopped, whatever state they are in."""

import asyncio
from typing import Any


async def stopped(consumer: Any, timeout_s: float) -> None:
    """Stop one of aiokafka's consumers within a deadline; never raises.

    Its `stop()` awaits tasks that it has cancelled. One that was pausing before its next try ends
    as cancelled, which `stop()` then lets out: whoever awaits it would be taken for cancelled too,
    and connections stay open.
    """
    stopping = asyncio.ensure_future(consumer.stop())
    await asyncio.wait([stopping], timeout=timeout_s)
    if not stopping.done():
        stopping.cancel()
        await asyncio.wait([stopping], timeout=timeout_s)
    if not stopping.done() or stopping.cancelled() or stopping.exception() is not None:
        # What stop() left undone; aiokafka has no public way to it.
        fetcher, client = consumer._fetcher, consumer._client  # noqa: SLF001
        fetching = [] if fetcher is None else list(fetcher._pending_tasks)  # noqa: SLF001
        for task in fetching:
            task.cancel()
        await asyncio.gather(*fetching, client.close(), return_exceptions=True)
