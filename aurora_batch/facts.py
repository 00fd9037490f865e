"""The built-in fleet, tenants and workloads (spec, section 5): what holds where no file says else.

`config/providers.yaml` and `config/workloads.yaml` say the same with comments, for a person to
change; a test holds the two together.
"""

from aurora_batch.settings import (
    PartialWeights,
    ProviderSettings,
    TenantSettings,
    WorkloadSettings,
)

USD_PER_CREDIT = 1.8


def _provider(
    name: str,
    regions: str,
    prices: dict[str, tuple[float, float]],
    latency_ms: float,
    capacity: float,
    reputation: float,
) -> ProviderSettings:
    """One row: `prices` are (USD, credits) per hour, `capacity` is GPU-hours per window."""
    return ProviderSettings(
        name=name,
        regions=regions.split(),
        base_price_usd_per_hour={gpu: usd for gpu, (usd, _) in prices.items()},
        credits_per_hour={gpu: credits_ for gpu, (_, credits_) in prices.items()},
        base_latency_ms=float(latency_ms),
        capacity_gpu_hours_per_step=float(capacity),
        reputation=float(reputation),
    )


# fmt: off
PROVIDERS = {
    "akash": _provider(
        "Akash Network", "eu-west-1 us-west-2", {"a100": (1.8, 1.0)}, 300, 220, 78),
    "ionet": _provider(
        "io.net", "us-west-2", {"h100": (3.2, 1.5), "a100": (2.2, 1.1)}, 320, 180, 74),
    "render": _provider(
        "Render Network", "us-west-2 eu-west-1", {"rtx4090": (0.9, 0.4)}, 420, 150, 70),
    "flux": _provider(
        "Flux", "eu-west-1", {"a100": (1.7, 1.0)}, 330, 140, 68),
    "aethir": _provider(
        "Aethir", "us-west-2 eu-west-1", {"h100": (3.5, 1.6), "a100": (2.5, 1.2)}, 260, 200, 85),
    "vast": _provider(
        "Vast.ai", "us-west-2", {"a100": (1.4, 0.9), "rtx4090": (0.8, 0.35)}, 380, 160, 62),
    "salad": _provider(
        "Salad", "global", {"rtx3080": (0.4, 0.25), "rtx3090": (0.55, 0.3)}, 500, 240, 55),
}
# fmt: on


def _tenant(
    region: str,
    budget_usd: float,
    weights: tuple[float, float, float, float],
    min_reputation: float,
    max_latency_ms: float,
    mix: dict[str, float],
    requests_per_step: float,
) -> TenantSettings:
    """One row: `weights` are price, latency, reputation, availability."""
    price, latency, reputation, availability = weights
    return TenantSettings(
        region=region,
        budget_usd_per_step=float(budget_usd),
        weights=PartialWeights(
            price=price, latency=latency, reputation=reputation, availability=availability
        ),
        min_reputation=float(min_reputation),
        max_latency_ms=float(max_latency_ms),
        mix=mix,
        requests_per_step=float(requests_per_step),
    )


# fmt: off
TENANTS = {
    "tenant-research": _tenant(
        "eu-west-1", 500, (0.4, 0.2, 0.25, 0.15), 60, 500,
        {"llm_training": 0.3, "llm_inference": 0.3, "3d_rendering": 0.1, "general_compute": 0.3},
        10),
    "tenant-gaming": _tenant(
        "us-west-2", 400, (0.2, 0.4, 0.2, 0.2), 55, 300,
        {"cloud_gaming": 0.45, "llm_inference": 0.35, "general_compute": 0.2}, 12),
    "tenant-render": _tenant(
        "us-west-2", 350, (0.25, 0.2, 0.2, 0.35), 50, 600,
        {"3d_rendering": 0.7, "general_compute": 0.3}, 8),
    "tenant-dao": _tenant(
        "eu-west-1", 250, (0.5, 0.1, 0.25, 0.15), 58, 600,
        {"llm_inference": 0.6, "general_compute": 0.4}, 6),
}
# fmt: on

WORKLOADS = {
    "llm_training": WorkloadSettings(gpu_type="h100", gpu_hours=(3.0, 10.0)),
    "llm_inference": WorkloadSettings(gpu_type="a100", gpu_hours=(0.2, 1.0)),
    "3d_rendering": WorkloadSettings(gpu_type="rtx4090", gpu_hours=(1.0, 3.0)),
    "cloud_gaming": WorkloadSettings(gpu_type="a100", gpu_hours=(0.5, 1.5)),
    "general_compute": WorkloadSettings(gpu_type="a100", gpu_hours=(0.5, 2.0)),
    # The plain names of the request contract, with the profile of their nearest kin.
    "rendering": WorkloadSettings(gpu_type="rtx4090", gpu_hours=(1.0, 3.0)),
    "general": WorkloadSettings(gpu_type="a100", gpu_hours=(0.5, 2.0)),
}
