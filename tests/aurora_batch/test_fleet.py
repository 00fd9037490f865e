"""Providers to columns."""

import numpy as np
import pytest

from aurora_batch.fleet import default_fleet, fleet_from_settings
from aurora_batch.settings import ProviderSettings


def provider(**changes: object) -> ProviderSettings:
    """A plain provider, with changes."""
    usual = {
        "base_price_usd_per_hour": {"a100": 2.0},
        "base_latency_ms": 100.0,
        "capacity_gpu_hours_per_step": 10.0,
        "reputation": 80.0,
    }
    return ProviderSettings(**{**usual, **changes})  # type: ignore[arg-type]


def test_default_fleet_is_that_of_the_specification() -> None:
    """Seven providers, ten offers, a pool each, in the order of the table."""
    fleet = default_fleet()

    assert fleet.provider_ids == ("akash", "ionet", "render", "flux", "aethir", "vast", "salad")
    assert fleet.pool_ids == fleet.provider_ids
    assert fleet.pool_capacity.tolist() == [220, 180, 150, 140, 200, 160, 240]
    assert fleet.offers == 11
    assert fleet.gpu_types == ("a100", "h100", "4090", "3080", "3090")


def test_gpu_names_are_normalized() -> None:
    """Vendor prefixes and case make no other type, in prices and capacities alike."""
    fleet = fleet_from_settings(
        {
            "x": provider(
                base_price_usd_per_hour={"NVIDIA A100": 1.0, "RTX 4090": 2.0},
                capacity_gpu_hours_per_step={"a100": 5.0, "4090": 7.0},
            )
        }
    )

    assert fleet.gpu_types == ("a100", "4090")
    assert fleet.pool_ids == ("x/a100", "x/4090")
    assert fleet.pool_capacity.tolist() == [5, 7]


def test_prices_by_region_are_offers_of_their_own() -> None:
    """One offer for each region's price, on the same pool."""
    fleet = fleet_from_settings(
        {"x": provider(base_price_usd_per_hour={"a100": {"eu": 1.0, "us": 1.5}})}
    )

    assert fleet.offer_price.tolist() == [1.0, 1.5]
    assert fleet.offer_regions == (("eu",), ("us",))
    assert fleet.offer_pool.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("eu", [True, False, True]),
        ("us", [False, True, True]),
        ("mars", [False, False, True]),
        ("global", [True, True, True]),
    ],
)
def test_regions_match_as_specified(region: str, expected: list[bool]) -> None:
    """An offer serves its regions; one that serves `global` serves all; `global` asks for any."""
    fleet = fleet_from_settings(
        {
            "a": provider(regions=["eu"]),
            "b": provider(regions=["us"]),
            "c": provider(regions=["global"]),
        }
    )

    assert fleet.region_match(region).tolist() == expected


def test_disabled_providers_sell_nothing() -> None:
    """A disabled provider leaves no offer and no pool behind."""
    fleet = fleet_from_settings({"a": provider(enabled=False), "b": provider()})

    assert fleet.provider_ids == ("b",)
    assert fleet.offers == 1


def test_an_empty_fleet_is_a_fleet() -> None:
    """No provider at all gives empty columns that still match nothing."""
    fleet = fleet_from_settings({})

    assert fleet.offers == 0
    assert fleet.gpu_match("a100").size == 0


def test_version_tells_contents_apart() -> None:
    """The same providers have the same version, another price another one."""
    same = fleet_from_settings({"a": provider()}).version
    other = fleet_from_settings({"a": provider(reputation=81.0)}).version

    assert fleet_from_settings({"a": provider()}).version == same != other


def test_columns_cannot_be_changed() -> None:
    """The snapshot is immutable."""
    with pytest.raises(ValueError, match="read-only"):
        default_fleet().offer_price[0] = 1.0
    assert np.isnan(default_fleet().offer_credits).sum() == 0
