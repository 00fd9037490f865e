"""The providers in force, and their reload while the worker runs."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from aurora_batch.errors import AuroraError
from aurora_batch.fleet import Fleet

log = logging.getLogger(__name__)

LOOK_S = 1.0


class Fleets:
    """Holds the current snapshot; a batch takes it once and is decided with it to the end.

    Parameters
    ----------
    load
        Reads the providers anew; raises `AuroraError` where they are wrong.
    path
        File to watch for changes; None: reload only when asked to.
    on_change
        Told the new snapshot, or None where it was refused.
    """

    def __init__(
        self,
        fleet: Fleet,
        load: Callable[[], Fleet] | None = None,
        path: Path | None = None,
        on_change: Callable[[Fleet | None], None] = lambda _: None,
    ) -> None:
        self.current = fleet
        self._load = load
        self._path = path
        self._on_change = on_change
        self._asked = asyncio.Event()
        self._seen = self._stamp()

    def ask(self) -> None:
        """Reload soon, changed or not; what SIGHUP does."""
        self._asked.set()

    async def watch(self) -> None:
        """Reload when asked to, or when the file's time or size has changed; until cancelled."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._asked.wait(), LOOK_S)
            stamp = self._stamp()
            if self._asked.is_set() or stamp != self._seen:
                self._asked.clear()
                self._seen = stamp
                await self.reload()

    async def reload(self) -> None:
        """Load in a thread and swap; a bad file leaves the old providers in place and says so."""
        if self._load is None:
            return
        try:
            fleet = await asyncio.to_thread(self._load)
        except AuroraError as error:
            log.error("providers not reloaded, the old ones stay in force: %s", error)
            self._on_change(None)
            return
        log.info("providers reloaded: %d offers, version %s", fleet.offers, fleet.version)
        self.current = fleet
        self._on_change(fleet)

    def _stamp(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size
