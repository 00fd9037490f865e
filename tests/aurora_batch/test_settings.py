"""Settings: defaults, bounds in types, relations between keys."""

import pytest

from aurora_batch import facts
from aurora_batch.model import Policy
from aurora_batch.settings import (
    Contradiction,
    KafkaSettings,
    PartialWeights,
    ProviderSettings,
    RouterSettings,
    Settings,
    TenantSettings,
    Topics,
    Weights,
    WorkloadSettings,
)
from aurora_batch.settings_types import Bytes


def provider(**changes: object) -> ProviderSettings:
    """A provider that sells an A100, with changes."""
    said: dict[str, object] = {
        "base_price_usd_per_hour": {"a100": 1.8},
        "base_latency_ms": 300.0,
        "capacity_gpu_hours_per_step": 220.0,
        "reputation": 78.0,
    }
    return ProviderSettings(**(said | changes))  # type: ignore[arg-type]


def test_defaults_are_the_documented_ones() -> None:
    """Weights, window, batch and topics are those of the specification."""
    settings = Settings()

    assert settings.router.weights == Weights(
        price=0.35, latency=0.30, reputation=0.20, availability=0.15
    )
    assert settings.router.window_s == 60
    assert settings.router.batch.max_bytes == 16 * 2**20
    assert settings.kafka.topics.dead_letters == "aurora.requests.dlq"
    assert settings.router.effective_policy is Policy.GLOBAL


def test_default_facts_are_complete() -> None:
    """Seven providers, four tenants, five profiles and the two plain names beside them."""
    settings = Settings()

    assert list(settings.providers) == [
        "akash", "ionet", "render", "flux", "aethir", "vast", "salad",
    ]  # fmt: skip
    assert sum(p.capacity_gpu_hours_per_step for p in facts.PROVIDERS.values()) == 1290
    assert sum(t.requests_per_step for t in settings.tenants.values()) == 36
    assert {"llm_inference", "llm_training", "rendering", "general"} < set(settings.workloads)


def test_default_prices_follow_the_credits() -> None:
    """No price is further from its credits at 1.8 USD than the documented table has it."""
    for p in facts.PROVIDERS.values():
        for gpu, usd in p.base_price_usd_per_hour.items():
            assert isinstance(usd, float)
            assert usd == pytest.approx(p.credits_per_hour[gpu] * facts.USD_PER_CREDIT, rel=0.4)


def test_defaults_of_two_settings_are_apart() -> None:
    """Changing the mapping of one settings object leaves the next one whole."""
    Settings().providers.clear()

    assert len(Settings().providers) == 7


@pytest.mark.parametrize(
    ("policy", "mode", "expected"),
    [
        (Policy.GREEDY, None, Policy.GREEDY),
        (Policy.GLOBAL, "rule-based", Policy.GLOBAL),
        (None, "rule-based", Policy.GREEDY),
        (None, "hybrid", Policy.GLOBAL),
        (None, None, Policy.GLOBAL),
    ],
)
def test_mode_stands_in_for_a_policy(
    policy: Policy | None, mode: str | None, expected: Policy
) -> None:
    """A policy that is said wins; else rule-based is greedy and everything else global."""
    router = RouterSettings(policy=policy, mode=mode)  # type: ignore[arg-type]

    assert router.effective_policy is expected


def test_a_tenant_takes_missing_weights_from_the_router() -> None:
    """Partial weights lie over whole ones key by key, zero included."""
    over = PartialWeights(price=0.0, latency=0.9).over(Weights())

    assert over == {"price": 0.0, "latency": 0.9, "reputation": 0.20, "availability": 0.15}


def test_capacity_and_prices_may_be_split() -> None:
    """Capacity by GPU type and prices by region are accepted, under any spelling of a GPU."""
    split = provider(
        base_price_usd_per_hour={"A100": {"eu": 1.8, "us": 1.9}, "RTX 4090": 0.5},
        capacity_gpu_hours_per_step={"a100": 1.0, "4090": 2.0},
        credits_per_hour={"NVIDIA A100": 1.0},
        regions=["eu", "us"],
        default_region="eu",
    )

    assert split.regions == ["eu", "us"]


ZERO = {"price": 0.0, "latency": 0.0, "reputation": 0.0, "availability": 0.0}


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: Weights(**ZERO), ""),
        (lambda: WorkloadSettings(gpu_hours=(3.0, 1.0)), "gpu_hours"),
        (lambda: TenantSettings(mix={"general": 0.5}), "mix"),
        (lambda: Topics(ledger="aurora.requests"), "ledger"),
        (lambda: KafkaSettings(sasl_mechanism="PLAIN"), "sasl_mechanism"),
        (lambda: KafkaSettings(security_protocol="SASL_SSL"), "sasl_mechanism"),
        (lambda: provider(base_price_usd_per_hour={}), "base_price_usd_per_hour"),
        (
            lambda: provider(base_price_usd_per_hour={"a100": 1.0, "A-100": 2.0}),
            "base_price_usd_per_hour.A-100",
        ),
        (lambda: provider(base_price_usd_per_hour={"--": 1.0}), "base_price_usd_per_hour"),
        (lambda: provider(base_price_usd_per_hour={"a100": {}}), "base_price_usd_per_hour.a100"),
        (
            lambda: provider(base_price_usd_per_hour={"a100": {"us": 1.0}}, regions=["eu"]),
            "base_price_usd_per_hour.a100.us",
        ),
        (
            lambda: provider(capacity_gpu_hours_per_step={"h100": 1.0}),
            "capacity_gpu_hours_per_step",
        ),
        (lambda: provider(credits_per_hour={"h100": 1.0}), "credits_per_hour.h100"),
        (lambda: provider(regions=["eu", "eu"]), "regions"),
        (lambda: provider(regions=["eu"], default_region="us"), "default_region"),
        (lambda: Settings(providers={"a b": provider()}), "providers"),
        (
            lambda: Settings(tenants={"t": TenantSettings(mix={"chess": 1.0})}),
            "tenants.t.mix.chess",
        ),
        (
            lambda: Settings(tenants={"t": TenantSettings(weights=PartialWeights(**ZERO))}),
            "tenants.t.weights",
        ),
    ],
)
def test_a_contradiction_names_its_key(make: object, key: str) -> None:
    """Keys that rule each other out are a `ValueError` that names the one to change."""
    with pytest.raises(Contradiction) as caught:
        make()  # type: ignore[operator]

    assert caught.value.key == key
    assert "Expected" in str(caught.value)


def test_sections_cannot_be_changed() -> None:
    """A setting that has been read stays as it is."""
    settings = Settings()

    with pytest.raises(AttributeError):
        settings.kafka.max_in_flight_bytes = Bytes(1)  # type: ignore[misc]
