"""Loading settings with an environment of the test's own."""

from pathlib import Path

from aurora_batch.configuration import Loaded, load_settings

PROVIDER = """providers:
  a:
    base_price_usd_per_hour: {a100: 1.8}
    base_latency_ms: 300
    capacity_gpu_hours_per_step: 220
    reputation: 78
"""


def load(folder: Path | None = None, *overrides: str, **environ: str) -> Loaded:
    """Load with an environment of these variables only."""
    return load_settings(folder, overrides=overrides, environ=environ)
