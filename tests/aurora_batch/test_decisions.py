"""What a decision says: reasons, remedies, alternatives, ids."""

import pyarrow as pa
import pytest
import xxhash

from aurora_batch import decisions, router
from aurora_batch.fleet import Fleet, default_fleet, fleet_from_settings
from aurora_batch.model import Fault, Policy
from aurora_batch.schema import DECISION_SCHEMA, Rejection
from aurora_batch.settings import ProviderSettings, Settings, TenantSettings
from tests.requests import NOON, at, table

Row = dict[str, object]


def decide(
    rows: list[Row],
    fleet: Fleet | None = None,
    settings: Settings | None = None,
    policy: Policy = Policy.GLOBAL,
) -> list[Row]:
    """Decisions as dicts."""
    fleet = fleet or default_fleet()
    settings = settings or Settings(tenants={})
    state = router.initial_state(fleet, settings)
    step = router.step(table(rows), fleet, state, settings, policy=policy)
    assert step.decisions.schema == DECISION_SCHEMA
    return step.decisions.to_pylist()


def test_a_served_request_is_told_everything() -> None:
    """Provider, price, latency, cost and score are those of the offer (spec, sections 4 and 5)."""
    row = decide([{"gpu_type": "a100", "region": "eu-west-1", "gpu_hours": 2.0}])[0]

    assert (row["provider"], row["gpu_type"], row["region"]) == ("akash", "a100", "eu-west-1")
    assert row["score"] == 0.35 * 1 / 1.8 + 0.30 * 1 / 300 + 0.20 * 78 / 100 + 0.15 * 220 / 220
    assert (row["price_usd_per_hour"], row["cost_usd"]) == (1.8, 3.6)
    assert row["estimated_latency_ms"] == 300
    assert row["status"] == "provisioning"
    assert row["reason"] == "ok"
    assert row["blocked_by"] == []
    assert row["window"] == NOON
    assert row["policy"] == "global"


@pytest.mark.parametrize("policy", list(Policy))
@pytest.mark.parametrize(
    ("request_", "reason", "blocked"),
    [
        ({"gpu_type": "b200"}, "no_viable_provider", "gpu_type a100 at akash"),
        (
            {"gpu_type": "h100", "region": "mars"},
            "no_viable_provider",
            "region us-west-2 at ionet",
        ),
        ({"gpu_type": "a100", "max_price": 1.0}, "no_viable_provider", "max_price 1.40 at vast"),
        (
            {"gpu_type": "h100", "max_latency_ms": 200.0},
            "no_viable_provider",
            "max_latency_ms 260 at aethir",
        ),
        (
            {"gpu_type": "4090", "min_reputation": 99.0},
            "no_viable_provider",
            "min_reputation 70 at render",
        ),
        ({"gpu_type": "4090", "gpu_hours": 200.0}, "no_capacity", "capacity 160 at vast"),
        (
            {"gpu_type": "3080", "gpu_hours": 10.0, "tenant_id": "poor"},
            "budget_exceeded",
            "budget 4.00 at salad",
        ),
    ],
)
def test_a_refusal_says_what_would_have_worked(
    policy: Policy, request_: Row, reason: str, blocked: str
) -> None:
    """Reason, and first the constraint that is most easily relaxed, with value and place."""
    settings = Settings(tenants={"poor": TenantSettings(budget_usd_per_step=1.0)})
    row = decide([request_], settings=settings, policy=policy)[0]

    assert row["reason"] == reason
    assert row["status"] == ("no_capacity" if reason == "no_capacity" else "rejected")
    assert row["blocked_by"][0] == blocked  # type: ignore[index]
    assert row["provider"] is None
    assert row["alternatives"] == []


@pytest.mark.parametrize(
    "relaxed",
    [{"max_price": 1.4}, {"max_latency_ms": 380.0}, {"gpu_hours": 160.0}],
)
def test_the_named_relaxation_is_enough(relaxed: Row) -> None:
    """The request with the value that a refusal names is served."""
    blocked = {"max_price": 1.0, "max_latency_ms": 1.0, "gpu_hours": 200.0}
    key = next(iter(relaxed))
    common: Row = {"gpu_type": "4090" if key == "gpu_hours" else "a100", "region": "us-west-2"}

    assert decide([{**common, key: blocked[key]}])[0]["status"] != "provisioning"
    assert decide([{**common, **relaxed}])[0]["status"] == "provisioning"


def test_alternatives_are_the_next_best_feasible_offers() -> None:
    """Best first, without the chosen one, as many as configured."""
    row = decide([{"gpu_type": "a100", "region": "us-west-2"}])[0]
    names = [a["provider"] for a in row["alternatives"]]  # type: ignore[attr-defined]
    scores = [a["score"] for a in row["alternatives"]]  # type: ignore[attr-defined]

    assert len(names) == 2
    assert row["provider"] not in names
    assert scores == sorted(scores, reverse=True)


def test_the_region_asked_for_is_the_region_given() -> None:
    """An offer in several regions deploys where the request asked; else in its first."""
    fleet = fleet_from_settings(
        {
            "wide": ProviderSettings(
                base_price_usd_per_hour={"a100": 1.0},
                base_latency_ms=100.0,
                capacity_gpu_hours_per_step=10.0,
                reputation=80.0,
                regions=["eu", "us"],
            )
        }
    )
    rows = decide([{"region": "us"}, {"region": "global"}], fleet)

    assert [row["region"] for row in rows] == ["us", "eu"]


def test_decision_ids_depend_on_the_request_alone() -> None:
    """Same id and event time, same decision id, in any batch; another time, another id."""
    first = decide([{"request_id": "a"}, {"request_id": "b"}])
    other = decide([{"request_id": "b"}])
    later = decide([{"request_id": "b", "requested_at": at(1)}])

    assert first[1]["decision_id"] == other[0]["decision_id"] != later[0]["decision_id"]
    assert first[0]["decision_id"] != first[1]["decision_id"]


def test_decision_ids_are_digests_of_any_request() -> None:
    """XXH3 of id and event time, however long the id and whatever its letters."""
    said = ["a", "", "ä" * 60, "x" * 128, "x" * 256, "req-000000001"]
    times = [1_767_268_800_000_000, 0, 5, 1, 2, 3]
    kind = pa.timestamp("us", tz="UTC")
    requests = pa.table({"request_id": said, "requested_at": pa.array(times, kind)})

    found = decisions.decision_ids(pa.concat_tables([requests.slice(0, 2), requests.slice(2)]))

    keys = [f"{i}\0{us}".encode() for i, us in zip(said, times, strict=True)]
    assert found.to_pylist() == [xxhash.xxh3_128_hexdigest(key) for key in keys]


def test_shadow_prices_show_only_where_something_is_scarce() -> None:
    """Plenty: price 0. Scarce: what one more GPU-hour of the pool is worth."""
    plenty = decide([{"gpu_type": "3080"}])
    scarce = decide([{"gpu_type": "3080", "gpu_hours": 100.0}] * 4)

    assert plenty[0]["shadow_price"] == 0
    assert max(row["shadow_price"] or 0 for row in scarce) > 0  # type: ignore[type-var]


def test_rejected_rows_carry_the_fault() -> None:
    """A bad record becomes a decision with its fault, its detail and no provider."""
    faults = [
        Rejection(3, None, Fault.MALFORMED, "not JSON", None),
        Rejection(5, None, Fault.OUT_OF_RANGE, "gpu_hours: expected > 0, got -1", "r5"),
    ]
    rows = decisions.rejected(faults, Policy.GLOBAL).to_pylist()

    assert [row["reason"] for row in rows] == ["malformed", "out_of_range"]
    assert [row["status"] for row in rows] == ["rejected"] * 2
    assert rows[1]["request_id"] == "r5"
    assert rows[1]["blocked_by"] == ["gpu_hours: expected > 0, got -1"]
    assert rows[0]["decision_id"] != rows[1]["decision_id"]


def test_ids_of_rejected_rows_do_not_depend_on_where_the_log_was_cut() -> None:
    """The same record in another piece of the log keeps its id."""
    late = Rejection(7, None, Fault.MALFORMED, "", None)
    early = Rejection(2, None, Fault.MALFORMED, "", None)
    ids = [
        decisions.rejected([late], Policy.GLOBAL),
        decisions.rejected([early], Policy.GLOBAL, first_index=5),
    ]

    assert ids[0]["decision_id"] == ids[1]["decision_id"]
