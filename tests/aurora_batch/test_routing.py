"""`ab.route` and the public names, used as a notebook or a service would."""

import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

import aurora_batch as ab
from tests.requests import table

ASKED = {"request_id": "r1", "workload_type": "general", "gpu_type": "A100", "gpu_hours": 2}


def test_dicts_frames_and_tables_decide_alike() -> None:
    """The same requests as dicts, as a Polars frame and as an Arrow table: the same decisions."""
    rows = [{**ASKED, "request_id": f"r{i}", "region": "us-west-2"} for i in range(5)]
    plain, frame, arrow = (
        ab.route(r) for r in (rows, pl.DataFrame(rows), pa.Table.from_pylist(rows))
    )

    assert plain.decisions.equals(frame.decisions)
    assert plain.decisions.equals(arrow.decisions)
    assert plain.decisions["request_id"].to_pylist() == [row["request_id"] for row in rows]


def test_bad_requests_are_rejected_in_their_place() -> None:
    """A bad request gets its fault; its neighbours are decided as if it were not there."""
    good = [{**ASKED, "request_id": name} for name in ("a", "b")]
    mixed = [good[0], {**ASKED, "request_id": "bad", "gpu_hours": -3}, good[1]]
    decided = ab.route(mixed).decisions.to_pylist()

    assert [row["status"] for row in decided] == ["provisioning", "rejected", "provisioning"]
    assert decided[1]["reason"] == "out_of_range"
    assert [decided[0], decided[2]] == ab.route(good).decisions.to_pylist()


def test_the_certificate_comes_with_both_policies() -> None:
    """Value, bound, gap and prices are there; greedy is never worth more than global's bound."""
    rows = [{**ASKED, "request_id": f"r{i}", "gpu_hours": 10 + i % 7} for i in range(300)]
    results = {policy: ab.route(rows, policy=policy).certificate for policy in ("greedy", "global")}

    assert results["greedy"].value <= results["global"].value <= results["global"].bound * 1.000001
    assert results["global"].pool_prices.min() >= 0
    assert 0 <= results["global"].gap < 0.01


def test_requests_of_several_windows_are_one_batch() -> None:
    """`route` decides what it is given together, whatever the times say."""
    from tests.requests import at

    both = ab.route(table([{"requested_at": at(0)}, {"requested_at": at(600)}]))

    assert both.certificate.requests == 2
    assert both.certificate.late == 1


def test_an_unknown_policy_is_a_value_error() -> None:
    """The message names what was said."""
    with pytest.raises(ValueError, match="cheapest"):
        ab.route([ASKED], policy="cheapest")


def test_every_public_name_loads() -> None:
    """The list of public names and reality agree."""
    assert all(getattr(ab, name) for name in ab.__all__)
    assert set(ab.__all__) <= set(dir(ab))
    with pytest.raises(AttributeError, match="no attribute 'rout'"):
        ab.rout  # noqa: B018


def test_a_script_outside_the_checkout_can_route(tmp_path: Path) -> None:
    """The README's example runs in an empty folder, with the packages as installed."""
    script = (
        "import aurora_batch as ab\n"
        f"result = ab.route([{ASKED!r}], fleet=ab.default_fleet(), policy='global')\n"
        "print(result.decisions['status'].to_pylist(), result.certificate.gap)\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        cwd=tmp_path, capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip

    assert done.stdout.split("\n")[0] == "['provisioning'] 0.0"


def test_extreme_numbers_are_decided_or_rejected() -> None:
    """Numbers at the ends of what a float holds never overflow a cost, a value or a phrase."""
    odd = [
        {"gpu_hours": 1e308}, {"gpu_hours": 1e9}, {"gpu_hours": 5e-324}, {"priority": 1e308},
        {"priority": 1e9}, {"priority": 5e-324}, {"max_price": 1e308}, {"max_price": 5e-324},
        {"max_latency_ms": 5e-324}, {"tenant_id": "tenant-dao", "gpu_hours": 1e9},
        {"weights": {"price": 5e-324}}, {"min_reputation": 100},
    ]  # fmt: skip
    rows = [{**ASKED, "request_id": f"r{i}", **said} for i, said in enumerate(odd)]
    crowd = [{**ASKED, "request_id": f"c{i}", "gpu_hours": 9} for i in range(200)]
    for policy in ("greedy", "global"):
        reasons = ab.route([*rows, *crowd], policy=policy).decisions["reason"].to_pylist()

        assert [i for i, r in enumerate(reasons) if r == "out_of_range"] == [0, 3]
        assert set(reasons[12:]) == {"ok", "no_capacity"}
