"""Every kernel compiled, or loaded from the cache, before the first batch.

Compiling takes seconds a kernel, on one core: Numba holds a lock. So where a kernel turns out not
to be in the cache, and there is another core, a second process compiles all but the solver, which
is as much again, into the cache that both share; then this one loads what that left there. Numba
replaces files of its cache as a whole, and writes nothing there that it would not write anyway.
Without the second process, or where it does not get there, this one compiles everything itself.

    python -m aurora_batch.warm_up      fills the cache, such as that of an image, or before tests
"""

import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from threading import Thread
from time import monotonic

import numpy as np
import pyarrow as pa
from numba.core import event

from aurora_batch import router
from aurora_batch.allocation import AllocationProblem, Prices, SparseProblem, find_prices, solve
from aurora_batch.fleet import Fleet, default_fleet
from aurora_batch.model import Policy
from aurora_batch.router import RouterState
from aurora_batch.schema import REQUEST_SCHEMA, decode_json, encode_json, encode_requests_json
from aurora_batch.scoring import Tenants
from aurora_batch.settings import Settings

REQUESTS = 256
LEAST_WAIT_S = 10.0
OTHER_HALF = (sys.executable, "-P", "-m", __spec__.name, "other-half")


def warm_up(fleet: Fleet, settings: Settings) -> None:
    """Compile, or load from the cache, every kernel, of both policies.

    Reads and decides a made-up batch, too large for the fleet, that no one sees, also at reserve
    prices.
    """
    with Helper() as helper:
        solver()
        helper.wait()
    exact_part()
    requests = _requests(fleet, settings)
    _read(requests)
    fresh = router.initial_state(fleet, settings)
    greedy = router.step(requests, fleet, fresh, settings, policy=Policy.GREEDY)
    made = router.step(requests, fleet, fresh, settings, policy=Policy.GLOBAL)
    for method in ("dual", "auto"):
        solve(made.problem(), method=method)
    find_prices(made.problem())
    charged = replace(_charged(made.state), ledger=fresh.ledger)
    dear = router.step(requests, fleet, charged, settings, policy=Policy.GLOBAL)
    for done in (greedy, made, dear):
        encode_json(done.coded)


def solver() -> None:
    """Compile the kernels that solve an allocation: half of the whole."""
    n, width, pools, tenants = REQUESTS, 4, 5, 2
    draw = np.random.default_rng(0)
    problem = SparseProblem(
        data=1.0 + draw.random(n * width),
        indices=draw.integers(pools, size=n * width),
        indptr=np.arange(n + 1) * width,
        demand=1.0 + draw.random(n),
        pool=np.arange(pools),
        capacity=np.full(pools, n / pools),
        tenant=np.arange(n) % (tenants + 1) - 1,
        cost=1.0 + draw.random(n * width),
        budget=np.full(tenants, n / 6),
    )
    solve(problem, method="dual")
    solve(problem)
    find_prices(problem)


def exact_part() -> None:
    """Load SciPy: a first batch that is short of something would wait for it, 0.2 s or more."""
    values, demand = np.array([[3.0], [2.0]]), np.array([2.0, 1.5])
    one_pool = AllocationProblem(values, demand, np.zeros(1, np.int64), np.array([3.0]))
    solve(one_pool, method="exact")


def all_but_solver() -> None:
    """Compile the other kernels, those for Kafka too: the other half."""
    fleet, settings = default_fleet(), Settings()
    requests = _requests(fleet, settings)
    _read(requests)
    fresh = router.initial_state(fleet, settings)
    greedy = router.step(requests, fleet, fresh, settings, policy=Policy.GREEDY)
    greedy.problem()
    # What fits at reserve prices needs no solver.
    few = requests.slice(0, 1)
    first = router.step(few, fleet, fresh, settings, policy=Policy.GLOBAL)
    fits = router.step(few, fleet, _charged(first.state), settings, policy=Policy.GLOBAL)
    for done in (greedy, fits):
        encode_json(done.coded)
    with suppress(ImportError):  # an extra
        from aurora_batch.adapters import kafka

        kafka.warm_up()


class Helper(event.Listener):
    """Another process, from the first kernel that this one compiles on until here ends.

    Nothing depends on it: it may die, hang, or find the cache read-only. Ctrl-C does not reach it,
    so that a stop takes no longer; where this process ends, it does too.
    """

    def __init__(self, command: tuple[str, ...] = OTHER_HALF) -> None:
        self._command = command
        self._began: float | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Helper":
        event.register("numba:compile", self)  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *_: object) -> None:
        event.unregister("numba:compile", self)  # type: ignore[no-untyped-call]
        if self.process is not None:
            self.process.kill()
            self.process.communicate()

    def on_start(self, event: event.Event) -> None:
        """Start it where a core is free for it."""
        if self._began is not None:
            return
        self._began = monotonic()
        if cores() == 1:
            return
        with suppress(OSError):
            self.process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL, start_new_session=True,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )  # fmt: skip

    def on_end(self, event: event.Event) -> None:
        """Go on."""

    def wait(self) -> None:
        """Wait until it has done its half, no longer than this process took for the other."""
        if self.process is not None and self._began is not None:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(max(monotonic() - self._began, LEAST_WAIT_S))


def cores() -> int:
    """Return how many cores this process may use."""
    known = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def end_with_parent() -> None:
    """End this process when its input is closed, as it is where its parent ends."""
    os.read(0, 1)
    os._exit(1)


def _requests(fleet: Fleet, settings: Settings) -> pa.Table:
    n = REQUESTS
    asked = fleet.gpu_types or ("none",)
    budgets = Tenants.from_settings(settings).budget_ids or (None,)
    rows = {
        # The first is no plain JSON, and read in another way.
        "request_id": ["wärm-up", *(f"warm-up-{i}" for i in range(1, n))],
        "tenant_id": [budgets[i % len(budgets)] if i % 2 else None for i in range(n)],
        "workload_type": ["general"] * n,
        "gpu_type": [asked[i % len(asked)] for i in range(n)],
        "region": ["global"] * n,
        "gpu_hours": [float(fleet.pool_capacity.sum()) * (1 + i % 5) / n + 1e-3 for i in range(n)],
        "priority": [1.0 + i % 3 for i in range(n)],
        "requested_at": [datetime(2000, 1, 1, tzinfo=UTC)] * n,
    }
    arrays = [
        pa.array(rows[f.name], f.type) if f.name in rows else pa.nulls(n, f.type)
        for f in REQUEST_SCHEMA
    ]
    return pa.table(arrays, schema=REQUEST_SCHEMA)


def _charged(state: RouterState) -> RouterState:
    """Return the state with reserve prices that hardly matter."""
    left = state.ledger
    kept = Prices(np.full_like(left.pool_left, 1e-9), np.zeros_like(left.budget_left))
    return replace(state, outlook=replace(state.outlook, reserve=kept, due=False))


def _read(requests: pa.Table) -> None:
    decode_json(encode_requests_json(requests), None)


if __name__ == "__main__":
    if sys.argv[1:]:
        Thread(target=end_with_parent, daemon=True).start()
        all_but_solver()
    else:
        warm_up(default_fleet(), Settings())
