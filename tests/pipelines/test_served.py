"""Served: who asked for how much and got it, in pieces as in one, in bounded memory."""

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from aurora_batch import workload
from aurora_batch.fleet import default_fleet
from pipelines import served
from pipelines.served import NOBODY, OTHERS, Served

LOG = workload.stress(default_fleet(), 3_000, seed=1, known_tenants=("acme", "zeta"))
ROUTED = np.random.default_rng(1).random(3_000) < LOG["gpu_hours"].to_numpy().argsort() / 3_000


def counted(*cuts: int) -> Served:
    """The log in pieces."""
    found = Served()
    edges = [0, *cuts, LOG.num_rows]
    for low, high in pairwise(edges):
        found.add(LOG.slice(low, high - low), ROUTED[low:high])
    return found


def asked(rows: list[tuple[str | None, str, float]]) -> pa.Table:
    """Requests by tenant, GPU types and GPU-hours."""
    names = ("tenant_id", "gpu_type", "gpu_hours")
    return pa.table({n: [row[i] for row in rows] for i, n in enumerate(names)})


def test_every_group_is_whole() -> None:
    """Sizes and tenants each add up to the log, by requests and by GPU-hours."""
    found = counted()
    hours = LOG["gpu_hours"].to_numpy()
    whole = (3_000, ROUTED.sum(), hours.sum(), hours[ROUTED].sum())

    for groups in ([s for _, s in found.by_size()], list(found.tenants.shares().values())):
        assert np.sum(groups, axis=0) == pytest.approx(whole)
        assert all(0 <= share.of_requests <= 1 for share in groups)
        assert all(0 <= share.of_gpu_hours <= 1 + 1e-9 for share in groups)


def test_pieces_count_as_one() -> None:
    """However the log was cut."""
    one, many = counted().to_dict(), counted(1, 700, 701, 2_500).to_dict()

    for group in ("by_tenant", "by_gpu_type"):
        assert list(one[group]) == list(many[group])
        for name, share in one[group].items():
            assert many[group][name] == pytest.approx(share)
    for a, b in zip(one["by_size"], many["by_size"], strict=True):
        assert a == pytest.approx(b)


def test_tenths_are_tenths_of_the_requests() -> None:
    """Ten groups by size, ascending, each about a tenth."""
    edges, shares = zip(*counted().by_size(), strict=True)

    assert len(edges) == 10
    assert list(edges) == sorted(edges)
    assert [s.requests for s in shares] == pytest.approx([300] * 10, rel=0.35)


def test_several_gpu_types_count_under_each() -> None:
    """One request that accepts two is asked for, and routed, under both."""
    found = Served()
    log = asked([("a", "a100|h100", 2.0), ("a", "a100", 1.0), (None, "t4", 4.0)])
    found.add(log, np.array([True, False, False]))

    assert found.gpu_types.shares() == {
        "a100": (2, 1, 3.0, 2.0), "h100": (1, 1, 2.0, 2.0), "t4": (1, 0, 4.0, 0.0),
    }  # fmt: skip
    assert found.tenants.shares() == {"a": (2, 1, 3.0, 2.0), NOBODY: (1, 0, 4.0, 0.0)}


def test_the_rest_is_shown_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names with most requests first; no more of them are kept than memory was given."""
    monkeypatch.setattr(served, "SHOWN", 2)
    monkeypatch.setattr(served, "MOST_NAMES", 3)
    found = Served()
    names = ["a", "b", "b", "c", "c", "c", "d", "d", "d", "d"]
    found.add(asked([(name, "t4", 1.0) for name in names]), np.ones(10, np.bool_))

    assert list(found.tenants.sums) == ["a", "b", "c"]
    assert found.tenants.shares() == {
        "c": (3, 3, 3.0, 3.0), "b": (2, 2, 2.0, 2.0), OTHERS: (5, 5, 5.0, 5.0),
    }  # fmt: skip


def test_nothing_has_no_shares() -> None:
    """An empty log has no groups."""
    found = Served()
    found.add(LOG.slice(0, 0), np.zeros(0, np.bool_))

    assert found.to_dict() == {"by_size": [], "by_tenant": {}, "by_gpu_type": {}}
