"""Settings: typed, frozen, defaults in code (spec, section 6). `configuration` loads them.

Unknown keys are errors. Bounds stand in the types (`settings_types`) and are checked when settings
are loaded; relations between keys are checked by `__post_init__`, which raises `Contradiction`.
"""

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from aurora_batch.model import ANYWHERE, WEIGHTS, Policy, Scoring, normalize_gpu
from aurora_batch.settings_types import (
    Brokers,
    Bytes,
    Capacity,
    Count,
    Days,
    HourRange,
    Milliseconds,
    Mix,
    NonNegative,
    Percent,
    Positive,
    PriceList,
    Regions,
    Seconds,
    Text,
    Topic,
    Unit,
    Url,
    VariableName,
)


class Contradiction(ValueError):
    """A value that its own section, or another one, rules out.

    `key` is relative to the section that found it; "" is the section itself.
    """

    def __init__(self, key: str, value: object, expected: str) -> None:
        super().__init__(f"Expected {expected} for {key or 'the section'}, got {value!r}.")
        self.key, self.value, self.expected = key, value, expected


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every section: frozen, no unknown keys."""


class Weights(Section, frozen=True, kw_only=True):
    """Weights of a score, each 0..1, not all zero."""

    price: Unit = 0.35
    latency: Unit = 0.30
    reputation: Unit = 0.20
    availability: Unit = 0.15

    def __post_init__(self) -> None:
        """Raise `Contradiction` where every weight is zero: such a score says nothing."""
        weights = {name: getattr(self, name) for name in WEIGHTS}
        if not any(weights.values()):
            raise Contradiction("", weights, "one weight above 0")


class PartialWeights(Section, frozen=True, kw_only=True):
    """Weights of a tenant; a missing key takes the router's."""

    price: Unit | None = None
    latency: Unit | None = None
    reputation: Unit | None = None
    availability: Unit | None = None

    def over(self, base: Weights) -> dict[str, float]:
        """Return all four weights, those of `base` where this says none."""
        said = {name: getattr(self, name) for name in WEIGHTS}
        return {k: getattr(base, k) if v is None else v for k, v in said.items()}


class Limits(Section, frozen=True, kw_only=True):
    """Constraints applied to requests that state none; only where configured."""

    max_price: Positive | None = None  # USD per hour
    max_latency_ms: Positive | None = None
    min_reputation: Percent | None = None


class BatchSettings(Section, frozen=True, kw_only=True):
    """When a micro-batch closes."""

    max_requests: Count = 10_000
    max_bytes: Bytes = Bytes(16 * 2**20)
    linger_ms: NonNegative = 20.0


class Objective(Section, frozen=True, kw_only=True):
    """What `global` maximises: priority x (serve_reward + scaled score)."""

    serve_reward: NonNegative = 1.0
    scale: Literal["per_request", "raw"] = "per_request"
    weigh_by: Literal["request", "gpu_hours"] = "request"


class SolverSettings(Section, frozen=True, kw_only=True):
    """How long and how well `global` solves; work is counted, so time never decides."""

    deadline_ms: Positive = 50.0
    target_gap: Annotated[float, Meta(ge=0, lt=1)] = 0.0005


class Lookahead(Section, frozen=True, kw_only=True):
    """Reserve prices, which keep capacity and budgets for what a window will still bring.

    `outlook` finds them from the latest `sample` requests, anew after `resolve_every` of event time
    (sooner in a burst, later while few requests come). They apply to `global` alone.
    """

    enabled: bool = True
    resolve_every: Seconds = Seconds(1.0)
    sample: Count = 20_000


class RouterSettings(Section, frozen=True, kw_only=True):
    """The `router:` section."""

    policy: Policy | None = Policy.GLOBAL  # None: as `mode` says
    mode: Literal["rule-based", "ai", "hybrid"] | None = None
    ai_rollout_percentage: Percent = 100.0
    scoring: Scoring = Scoring.DOCUMENTED
    defaults: Limits = Limits()
    weights: Weights = Weights()
    window_s: Days = 60.0
    max_clock_skew_s: Days = 300.0
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


class Topics(Section, frozen=True, kw_only=True):
    """Names of the five topics, all different."""

    requests: Topic = "aurora.requests"
    decisions: Topic = "aurora.decisions"
    dead_letters: Topic = "aurora.requests.dlq"
    outcomes: Topic = "aurora.outcomes"
    ledger: Topic = "aurora.ledger"

    def __post_init__(self) -> None:
        """Raise `Contradiction` where one topic would serve two ends."""
        keys: dict[str, str] = {}
        for key in self.__struct_fields__:
            name = getattr(self, key)
            if name in keys:
                raise Contradiction(key, name, f"another topic than that of {keys[name]}")
            keys[name] = key


LEAST_MESSAGE = 4096  # bytes


class KafkaSettings(Section, frozen=True, kw_only=True):
    """The `kafka:` section. User and password come from the environment only, never from here."""

    bootstrap: Brokers = "localhost:9092"
    group: Text = "aurora"  # offsets are committed under it
    topics: Topics = Topics()
    partitions: Count = 4  # of topics that `aurora topics create` makes
    split: Literal["equal", "gpu_type"] = "equal"
    replication: Annotated[int, Meta(ge=1, le=32_767)] = 1
    transactional: Literal["auto", "on", "off"] = "auto"
    request_timeout_ms: Milliseconds = 10_000
    transaction_timeout_ms: Milliseconds = 30_000
    fetch_max_wait_ms: Milliseconds = 500
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"  # of what is sent
    max_in_flight_bytes: Bytes = Bytes(64 * 2**20)
    max_message_bytes: Bytes = Bytes(2**20)  # of a decision or dead letter, on the broker
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    ssl_cafile: Text | None = None

    def __post_init__(self) -> None:
        """Raise `Contradiction` where sizes, protocol or mechanism cannot be."""
        if self.max_message_bytes < LEAST_MESSAGE:
            expected = f"at least {LEAST_MESSAGE} bytes, which a dead letter may need"
            raise Contradiction("max_message_bytes", self.max_message_bytes, expected)
        sasl = self.security_protocol.startswith("SASL_")
        if sasl and self.sasl_mechanism is None:
            expected = f"a mechanism, since security_protocol is {self.security_protocol}"
            raise Contradiction("sasl_mechanism", None, expected)
        if not sasl and self.sasl_mechanism is not None:
            expected = f"none, since security_protocol is {self.security_protocol}"
            raise Contradiction("sasl_mechanism", self.sasl_mechanism, expected)


class ProviderSettings(Section, frozen=True, kw_only=True):
    """One provider of `providers.yaml`; capacity may be by GPU type, prices also by region."""

    base_price_usd_per_hour: PriceList
    base_latency_ms: Positive
    capacity_gpu_hours_per_step: Capacity
    reputation: Percent
    regions: Regions = field(default_factory=lambda: [ANYWHERE])
    name: str = ""
    enabled: bool = True
    credits_per_hour: dict[str, NonNegative] = field(default_factory=dict)
    # For the adapters that will deploy; `credentials_secret` names an environment variable.
    api_url: Url | None = None
    credentials_secret: VariableName | None = None
    default_region: Text | None = None

    def __post_init__(self) -> None:
        """Raise `Contradiction` where prices, capacity, credits and regions do not match."""
        prices = self.base_price_usd_per_hour
        priced = _gpu_types("base_price_usd_per_hour", prices)
        if not priced:
            raise Contradiction("base_price_usd_per_hour", prices, "at least one GPU type")
        if isinstance(capacity := self.capacity_gpu_hours_per_step, dict):
            pools = _gpu_types("capacity_gpu_hours_per_step", capacity)
            if set(pools) != set(priced):
                expected = f"a number for each priced GPU type: {', '.join(prices)}"
                raise Contradiction("capacity_gpu_hours_per_step", capacity, expected)
        for gpu, name in _gpu_types("credits_per_hour", self.credits_per_hour).items():
            if gpu not in priced:
                value = self.credits_per_hour[name]
                raise Contradiction(f"credits_per_hour.{name}", value, _one_of(prices))
        self._check_regions()

    def _check_regions(self) -> None:
        if len(set(self.regions)) < len(self.regions):
            raise Contradiction("regions", self.regions, "each region once")
        anywhere = ANYWHERE in self.regions
        home = self.default_region
        if not (anywhere or home is None or home in self.regions):
            raise Contradiction("default_region", home, _one_of(self.regions))
        for name, price in self.base_price_usd_per_hour.items():
            if not isinstance(price, dict):
                continue
            key = f"base_price_usd_per_hour.{name}"
            if not price:
                raise Contradiction(key, price, "a price for at least one region")
            for region in price:
                if not (anywhere or region in self.regions):
                    raise Contradiction(f"{key}.{region}", price[region], _one_of(self.regions))


class TenantSettings(Section, frozen=True, kw_only=True):
    """One tenant of `workloads.yaml`: budget, defaults, and its part of the war game."""

    region: Text = ANYWHERE
    budget_usd_per_step: NonNegative | None = None
    weights: PartialWeights = PartialWeights()
    max_price: Positive | None = None
    max_latency_ms: Positive | None = None
    min_reputation: Percent | None = None
    mix: Mix = field(default_factory=dict)
    requests_per_step: NonNegative = 0.0

    def __post_init__(self) -> None:
        """Raise `Contradiction` where the shares of the mix do not make a whole."""
        if self.mix and abs(sum(self.mix.values()) - 1) > 0.01:
            raise Contradiction("mix", self.mix, "shares that sum to 1")


class WorkloadSettings(Section, frozen=True, kw_only=True):
    """One workload type: the GPU it asks for and the range of its GPU-hours (uniform)."""

    gpu_type: str = ""
    gpu_hours: HourRange = (0.5, 2.0)

    def __post_init__(self) -> None:
        """Raise `Contradiction` where the range is upside down."""
        low, high = self.gpu_hours
        if low > high:
            raise Contradiction("gpu_hours", list(self.gpu_hours), "[low, high] with low <= high")


class ReplaySettings(Section, frozen=True, kw_only=True):
    """The `replay:` section."""

    chunk_requests: Count = 200_000


# The tables of facts are written in the shapes of this module, hence imported when asked for.


def _providers() -> dict[str, ProviderSettings]:
    from aurora_batch.facts import PROVIDERS

    return dict(PROVIDERS)


def _tenants() -> dict[str, TenantSettings]:
    from aurora_batch.facts import TENANTS

    return dict(TENANTS)


def _workloads() -> dict[str, WorkloadSettings]:
    from aurora_batch.facts import WORKLOADS

    return dict(WORKLOADS)


class Settings(Section, frozen=True, kw_only=True):
    """All settings: `router.yaml`, `providers.yaml`, `workloads.yaml` together."""

    router: RouterSettings = RouterSettings()
    replay: ReplaySettings = ReplaySettings()
    kafka: KafkaSettings = KafkaSettings()
    providers: dict[str, ProviderSettings] = field(default_factory=_providers)
    tenants: dict[str, TenantSettings] = field(default_factory=_tenants)
    workloads: dict[str, WorkloadSettings] = field(default_factory=_workloads)

    def __post_init__(self) -> None:
        """Raise `Contradiction` where names, mixes or weights do not fit together."""
        for name in self.providers:
            # A provider's id is part of pool ids (`akash/a100`) and a label of metrics.
            if not re.fullmatch(r"[^\s/|]{1,128}", name):
                raise Contradiction("providers", name, "ids without spaces, / and |")
        for name, tenant in self.tenants.items():
            for workload, share in tenant.mix.items():
                if workload not in self.workloads:
                    key = f"tenants.{name}.mix.{workload}"
                    raise Contradiction(key, share, _one_of(self.workloads))
            weights = tenant.weights.over(self.router.weights)
            if not any(weights.values()):
                expected = "one weight above 0, with router.weights where it says none"
                raise Contradiction(f"tenants.{name}.weights", weights, expected)


def _gpu_types(key: str, by_gpu: Mapping[str, object]) -> dict[str, str]:
    """Map canonical GPU types to the names that were said; raises where two names mean one."""
    types: dict[str, str] = {}
    for name in by_gpu:
        gpu = normalize_gpu(name)
        if not gpu:
            raise Contradiction(key, name, "names of GPU types")
        if gpu in types:
            expected = f"another GPU type than {types[gpu]}"
            raise Contradiction(f"{key}.{name}", by_gpu[name], expected)
        types[gpu] = name
    return types


def _one_of(names: Collection[str]) -> str:
    return f"one of {', '.join(names)}" if names else "none: nothing is configured there"
