"""Settings: typed, frozen, defaults in code (spec, section 6). `configuration` loads them.

An empty file equals the defaults. Unknown keys are errors (`forbid_unknown_fields`), bounds are
checked by msgspec's `Meta`, relations between keys in `__post_init__`.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from aurora_batch.model import Policy, Scoring


class Seconds(float):
    """A duration in seconds; files may say `1s`, `20ms`, `2m`."""


class Bytes(int):
    """A size in bytes; files may say `16MiB`, `64kB`."""


Unit = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
Count = Annotated[int, Meta(ge=1)]


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: frozen, no unknown keys."""


class Weights(Section, frozen=True, kw_only=True):
    """Weights of a score, each 0..1, not all zero."""

    price: Unit = 0.35
    latency: Unit = 0.30
    reputation: Unit = 0.20
    availability: Unit = 0.15


class PartialWeights(Section, frozen=True, kw_only=True):
    """Weights of a tenant; a missing key takes the router's."""

    price: Unit | None = None
    latency: Unit | None = None
    reputation: Unit | None = None
    availability: Unit | None = None


class Limits(Section, frozen=True, kw_only=True):
    """Constraints applied to requests that state none; only where configured."""

    max_price: Positive | None = None  # USD per hour
    max_latency_ms: Positive | None = None
    min_reputation: Annotated[float, Meta(ge=0, le=100)] | None = None


class BatchSettings(Section, frozen=True, kw_only=True):
    """When a micro-batch closes."""

    max_requests: Count = 10_000
    max_bytes: Bytes = Bytes(16 * 2**20)
    linger_ms: Annotated[float, Meta(ge=0)] = 20.0


class Objective(Section, frozen=True, kw_only=True):
    """What `global` maximises: priority x (serve_reward + scaled score)."""

    serve_reward: Annotated[float, Meta(ge=0)] = 1.0
    scale: Literal["per_request", "raw"] = "per_request"
    weigh_by: Literal["request", "gpu_hours"] = "request"


class SolverSettings(Section, frozen=True, kw_only=True):
    """How long and how well `global` solves; work is counted, so time never decides."""

    deadline_ms: Positive = 50.0
    target_gap: Annotated[float, Meta(ge=0, lt=1)] = 0.0005


class Lookahead(Section, frozen=True, kw_only=True):
    """Reserve prices from recent demand (accepted now, applied by a later part)."""

    enabled: bool = True
    resolve_every: Seconds = Seconds(1.0)
    sample: Count = 20_000


class RouterSettings(Section, frozen=True, kw_only=True):
    """The `router:` section."""

    policy: Policy | None = None
    mode: Literal["rule-based", "ai", "hybrid"] | None = None
    ai_rollout_percentage: Annotated[float, Meta(ge=0, le=100)] = 100.0
    scoring: Scoring = Scoring.DOCUMENTED
    defaults: Limits = Limits()
    weights: Weights = Weights()
    window_s: Positive = 60.0
    max_clock_skew_s: Positive = 300.0
    alternatives: Annotated[int, Meta(ge=0, le=8)] = 2
    batch: BatchSettings = BatchSettings()
    objective: Objective = Objective()
    solver: SolverSettings = SolverSettings()
    lookahead: Lookahead = Lookahead()

    @property
    def effective_policy(self) -> Policy:
        """The policy said, else the one that `mode` means, else `global`."""
        if self.policy is not None:
            return self.policy
        return Policy.GREEDY if self.mode == "rule-based" else Policy.GLOBAL


class ProviderSettings(Section, frozen=True, kw_only=True):
    """One provider of `providers.yaml`; capacity may be by GPU type, prices also by region."""

    base_price_usd_per_hour: dict[str, Positive | dict[str, Positive]]
    base_latency_ms: Positive
    capacity_gpu_hours_per_step: (
        Annotated[float, Meta(ge=0)] | dict[str, Annotated[float, Meta(ge=0)]]
    )
    reputation: Annotated[float, Meta(ge=0, le=100)]
    regions: list[str] = field(default_factory=lambda: ["global"])
    name: str = ""
    enabled: bool = True
    credits_per_hour: dict[str, Annotated[float, Meta(ge=0)]] = field(default_factory=dict)


class TenantSettings(Section, frozen=True, kw_only=True):
    """One tenant of `workloads.yaml`: budget, defaults, and its part of the war game."""

    region: str = "global"
    budget_usd_per_step: Annotated[float, Meta(ge=0)] | None = None
    weights: PartialWeights = PartialWeights()
    max_price: Positive | None = None
    max_latency_ms: Positive | None = None
    min_reputation: Annotated[float, Meta(ge=0, le=100)] | None = None
    mix: dict[str, Unit] = field(default_factory=dict)
    requests_per_step: Annotated[float, Meta(ge=0)] = 0.0


class WorkloadSettings(Section, frozen=True, kw_only=True):
    """One workload type: the GPU it asks for and the range of its GPU-hours (uniform)."""

    gpu_type: str = ""
    gpu_hours: tuple[Positive, Positive] = (0.5, 2.0)


class ReplaySettings(Section, frozen=True, kw_only=True):
    """The `replay:` section."""

    chunk_requests: Count = 200_000


class Settings(Section, frozen=True, kw_only=True):
    """All settings: `router.yaml`, `providers.yaml`, `workloads.yaml` together."""

    router: RouterSettings = RouterSettings()
    replay: ReplaySettings = ReplaySettings()
    providers: dict[str, ProviderSettings] = field(default_factory=dict)
    tenants: dict[str, TenantSettings] = field(default_factory=dict)
    workloads: dict[str, WorkloadSettings] = field(default_factory=dict)
