"""A worker that is warm never compiles again: a compiler in the first batch costs seconds."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
import pyarrow as pa
import numpy as np
from aurora_batch import router, schema, snapshots, workload
from aurora_batch.adapters.kafka import inside, wire
from aurora_batch.fleet import default_fleet
from aurora_batch.model import Policy
from aurora_batch.settings import Settings
from tests.aurora_batch import windows

def signatures():
    return {
        f"{module.__name__}.{name}": len(kernel.signatures)
        for module in list(sys.modules.values()) if module.__name__.startswith("kernels.")
        for name, kernel in vars(module).items() if hasattr(kernel, "signatures")
    }

fleet, settings = default_fleet(), Settings()
router.warm_up(fleet, settings)
inside.warm_up()
warm = signatures()
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
            for batch in wire.encode(part, rows, 0 * rows, 61, codec, transactional=True):
                for at in (0, 7):
                    fetched = wire.Fetched("", 0, bytes(batch._build()), at, [(5, 0)], True, True)
                    wire.decode(fetched)
print(sum(warm.values()), {k: n for k, n in signatures().items() if n != warm.get(k)})
"""


def test_no_kernel_is_compiled_after_the_warm_up() -> None:
    """Batches of every size, both policies, budgets, reserve prices, restarts: all is compiled."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=115,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    compiled, _, again = done.stdout.partition(" ")

    assert int(compiled) > 20
    assert again.strip() == "{}"
