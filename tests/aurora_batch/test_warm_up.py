"""A worker that is warm never compiles or loads: a compiler in the first batch costs seconds."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from numba import njit

from aurora_batch.fleet import default_fleet, fleet_from_settings
from aurora_batch.settings import Settings
from aurora_batch.warm_up import Helper, cores, solver, warm_up

SCRIPT = """
import sys
import pyarrow as pa
import numpy as np
from aurora_batch import router, schema, snapshots, workload
from aurora_batch.adapters.kafka import inside, wire
from aurora_batch.allocation import AllocationProblem, solve
from aurora_batch.fleet import default_fleet
from aurora_batch.model import Policy
from aurora_batch.settings import Settings
from aurora_batch.warm_up import warm_up
from tests.aurora_batch import windows

def signatures():
    return {
        f"{module.__name__}.{name}": len(kernel.signatures)
        for module in list(sys.modules.values()) if module.__name__.startswith("kernels.")
        for name, kernel in vars(module).items() if hasattr(kernel, "signatures")
    }

fleet, settings = default_fleet(), Settings()
warm_up(fleet, settings)
inside.warm_up()
warm, loaded = signatures(), set(sys.modules)
log = workload.stress(fleet, 6000, seed=1, load=1.5, known_tenants=tuple(settings.tenants))
payloads = schema.encode_requests_json(log)
mixed = pa.array([*payloads[:20], None, b"{", payloads[20].replace(b"-", b"\\u002d")], pa.binary())
for values in (mixed, mixed[3:], mixed[:0], mixed[20:21], mixed.cast(pa.large_binary())):
    schema.decode_json(values, None)
schema.decode_table(log.set_column(11, "requested_at", [["2026-01-01T12:00:00Z"] * log.num_rows]))
for policy in Policy:
    state = router.initial_state(fleet, settings)
    for low, high in ((0, 1), (1, 40), (40, 3000), (3000, 6000)):
        batch = schema.decode_json(payloads[low:high], None).requests
        for step in router.decide(batch, fleet, state, settings, policy=policy):
            assert step.decisions.num_rows == step.batch.requests
            for said in (step.coded, schema.Decisions.of(step.decisions)):
                assert len(schema.encode_json(said)) == step.batch.requests
            state = snapshots.restore(snapshots.save(step.state), settings)
kept = 0
ahead = windows.log(2.0)
for fleet, log in ((ahead.fleet, ahead.requests), (fleet, log)):
    state = router.initial_state(fleet, settings)
    for batch in range(0, log.num_rows, 100):
        for step in router.decide(log.slice(batch, 100), fleet, state, settings):
            assert step.decisions.num_rows == step.batch.requests
            state = snapshots.restore(snapshots.save(step.state), settings)
            kept += step.batch.reserve is not None
assert kept > 20, kept
several = [schema.Message(b"v"), schema.Message(None, b"k", (("h", b"x"),)), schema.Message(b"")]
for messages in (several, several[:1], several[1:2], []):
    whole = schema.Messages.of(messages)
    for part in (whole, schema.Messages(whole.value[1:], whole.key[1:], whole.partition[1:])):
        rows = np.arange(len(part))
        rows.setflags(write=False)
        for codec in (0, 3):
            (made,) = wire.encode(part, [rows], 0 * rows, 61, codec, transactional=True)
            for batch in made:
                for at in (0, 7):
                    fetched = wire.Fetched("", 0, bytes(batch._build()), at, [(5, 0)], True, True)
                    wire.decode(fetched)
draw = np.random.default_rng(0)
problem = AllocationProblem(
    1 + draw.random((60, 5)), 0.5 + draw.random(60), np.arange(5), np.full(5, 5.0)
)
solve(problem)
solve(problem, method="exact", deadline_s=0.5)
again = [k for k, n in signatures().items() if n != warm.get(k)]
print(sum(warm.values()), again + [m for m in set(sys.modules) - loaded if m.startswith("scipy")])
"""


PARTS = """
import sys
from aurora_batch import warm_up
from aurora_batch.adapters import kafka
from aurora_batch.fleet import default_fleet
from aurora_batch.settings import Settings

def signatures():
    return {
        f"{module.__name__}.{name}": {str(signature) for signature in kernel.signatures}
        for module in list(sys.modules.values()) if module.__name__.startswith("kernels.")
        for name, kernel in vars(module).items() if hasattr(kernel, "signatures")
    }

warm_up.solver()
half = signatures()
warm_up.all_but_solver()
whole = signatures()
warm_up.warm_up(default_fleet(), Settings())
kafka.warm_up()
print(sum(map(bool, half.values())), whole == signatures())
"""

KILLED = """
import os, signal, sys
from numba import njit
from aurora_batch.warm_up import Helper

with Helper((sys.executable, "-c", sys.argv[1])):
    njit(lambda x: x + 1)(1)
    os.kill(os.getpid(), signal.SIGKILL)
"""

two_cores = pytest.mark.skipif(cores() == 1, reason="on one core there is no helper")


def helped(*command: str) -> Helper:
    """Return the helper beside a kernel that is compiled, at its end."""
    with Helper(command) as helper:
        assert helper.process is None
        assert njit(lambda x: x + 1)(1) == 2
        helper.wait()
    return helper


def run(script: str) -> str:
    """Return what a script prints, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=Path(__file__).parents[2],
        capture_output=True, text=True, timeout=115,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_nothing_is_compiled_or_loaded_after_the_warm_up() -> None:
    """Batches of every size, both policies, budgets, reserve prices, restarts, exact searches."""
    compiled, _, again = run(SCRIPT).partition(" ")

    assert int(compiled) > 20
    assert again.strip() == "[]"


def test_warm_up_leaves_no_trace() -> None:
    """Compiling every kernel works on any fleet, the empty one too."""
    warm_up(default_fleet(), Settings())
    warm_up(fleet_from_settings({}), Settings())


def test_two_halves_are_the_whole() -> None:
    """What the two processes compile is all that the warm-up needs, and in its types."""
    solver, whole = run(PARTS).split()

    assert int(solver) > 15
    assert whole == "True"


@two_cores
@pytest.mark.parametrize(("does", "code"), [("pass", 0), ("import os; os.abort()", -6)])
def test_a_helper_may_end_as_it_likes(does: str, code: int) -> None:
    """One that did its half and one that crashed: the warm-up goes on."""
    process = helped(sys.executable, "-c", does).process

    assert process is not None
    assert process.returncode == code


@two_cores
def test_a_helper_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait has an end, and the helper has, too."""
    monkeypatch.setattr("aurora_batch.warm_up.LEAST_WAIT_S", 0.01)
    process = helped(sys.executable, "-c", "import os; os.read(0, 1)").process

    assert process is not None
    assert process.returncode == -signal.SIGKILL


def test_a_helper_that_cannot_be_started_is_done_without() -> None:
    """A process too many, a Python that is gone: this one compiles everything."""
    assert helped("/no/such/python").process is None


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no way to be on one core")
def test_nothing_is_started_where_there_is_one_core() -> None:
    """On a single core two compilers are slower than one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, [min(before)])
    try:
        assert helped(sys.executable, "-c", "pass").process is None
    finally:
        os.sched_setaffinity(0, before)


def test_nothing_is_started_where_all_is_cached() -> None:
    """A warm start is one process."""
    solver()
    script = "import aurora_batch.warm_up as w\nwith w.Helper() as h: w.solver()\nprint(h.process)"

    assert run(script) == "None\n"


@two_cores
def test_a_helper_ends_with_its_parent(tmp_path: Path) -> None:
    """A worker that is killed while it compiles leaves no process behind."""
    os.mkfifo(tmp_path / "alive")
    helper = (
        "from threading import Event, Thread; from aurora_batch import warm_up\n"
        f"alive = open({str(tmp_path / 'alive')!r}, 'w')\n"
        "Thread(target=warm_up.end_with_parent, daemon=True).start(); Event().wait()"
    )
    parent = subprocess.run(
        [sys.executable, "-c", KILLED, helper], cwd=Path(__file__).parents[2], check=False
    )

    assert parent.returncode == -signal.SIGKILL
    assert (tmp_path / "alive").read_text() == ""  # until whoever may write to it is gone
