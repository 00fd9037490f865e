"""How long a worker takes from its start to its first committed decision."""

import tempfile
import time
from contextlib import ExitStack, closing

from benchmarks.stream.cells import Cell, Start
from benchmarks.stream.children import Failed, tool
from benchmarks.stream.place import PARTITIONS, Committed, Place

FEW = 100  # requests that wait for it
BEGIN_S = 120.0
LOOK_S = 0.02


def started(place: Place, cell: Cell, turn: int) -> Start:
    """Start a worker where requests wait, with its kernels compiled or without; end it after."""
    requests = f"{place.prefix}.{cell.name}.{turn}.requests"
    settings = place.settings(cell, requests, turn)
    place.create(settings)
    spec = {
        "bootstrap": place.bootstrap, "topic": requests, "partitions": PARTITIONS,
        "payload": cell.payload, "count": FEW, "rate": 1e6, "start_us": round(time.time() * 1e6),
    }  # fmt: skip
    with tool("feed", spec) as feed:
        feed.wait(BEGIN_S)
    with ExitStack() as stack:
        committed = stack.enter_context(closing(Committed(settings.kafka)))
        committed.records()  # so that the client is connected
        none = stack.enter_context(tempfile.TemporaryDirectory(dir=place.folder))
        environ = {} if cell.compiled else {"NUMBA_CACHE_DIR": none}
        began = time.monotonic()
        worker = stack.enter_context(place.worker(settings, "0/1", environ=environ))
        while not (look := committed.records())[1]:
            if look[0] > began + BEGIN_S or not worker.running:
                raise Failed(f"nothing was decided: {worker.last_words}")
            time.sleep(LOOK_S)
        worker.stop()
    place.drop_outputs(settings)
    place.drop(requests)
    return Start(cell.name, look[0] - began)
