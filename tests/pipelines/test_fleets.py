"""Reload of the providers: on a change, when asked to, and never to something bad."""

import asyncio
from pathlib import Path

from aurora_batch.errors import UsageError
from aurora_batch.fleet import Fleet, default_fleet, fleet_from_settings
from aurora_batch.settings import Settings
from pipelines.fleets import Fleets
from tests.streaming import run

SMALL = fleet_from_settings({"vast": Settings().providers["vast"]})


def test_a_bad_file_leaves_the_old_providers() -> None:
    """What cannot be loaded changes nothing, and is told."""

    def bad() -> Fleet:
        raise UsageError("providers.yaml: reputation is 101; expected 0..100")

    told: list[Fleet | None] = []
    fleets = Fleets(SMALL, bad, on_change=told.append)

    run(fleets.reload())

    assert (fleets.current, told) == (SMALL, [None])


def test_a_change_of_the_file_and_a_request_reload(tmp_path: Path) -> None:
    """Both lead to one load each, in a thread; what is in force is swapped."""
    file = tmp_path / "providers.yaml"
    file.write_text("")
    loaded = asyncio.Queue[Fleet | None]()
    fleets = Fleets(SMALL, default_fleet, file, loaded.put_nowait)

    async def go() -> None:
        watching = asyncio.create_task(fleets.watch())
        file.write_text("changed")
        assert (await loaded.get()) is fleets.current
        fleets.ask()
        await loaded.get()
        watching.cancel()

    run(go())
    assert fleets.current.version == default_fleet().version


def test_without_a_loader_nothing_happens() -> None:
    """The demo has a fleet and nothing to reload it from."""
    fleets = Fleets(SMALL)
    run(fleets.reload())
    assert fleets.current is SMALL
