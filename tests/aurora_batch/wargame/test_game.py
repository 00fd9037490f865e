"""The run: the documented policy choice by choice, windows, waiting, counting."""

from collections.abc import Sequence
from math import prod

import msgspec
import numpy as np
import pytest

from aurora_batch.hindsight import without_lookahead
from aurora_batch.model import Policy
from aurora_batch.settings import ProviderSettings, Settings
from aurora_batch.wargame.events import DEFAULT_EVENTS, Event, Kind
from aurora_batch.wargame.game import Game, Plan, Player, Stage
from tests.pipelines.greedy_reference import greedy

SETTINGS = without_lookahead(Settings())
GREEDY = Player("greedy", Policy.GREEDY, SETTINGS)
GLOBAL = Player("global", Policy.GLOBAL, SETTINGS)
STORM = (
    *DEFAULT_EVENTS,
    Event(Kind.OUTAGE, "akash", 5, 6),
    Event(Kind.PRICE_SPIKE, "aethir", 3, 9, 1.4),
    Event(Kind.PRICE_SPIKE, "aethir", 6, 4, 1.3),
    Event(Kind.FLAPPING, "flux", 2, 20, 2.0),
    Event(Kind.REGION_LOSS, "eu-west-1", 12, 3),
    Event(Kind.CAPACITY_LOSS, "all", 14, 8, 0.1),
    Event(Kind.CAPACITY_SURGE, "vast", 16, 8, 3.0),
    Event(Kind.REPUTATION_DROP, "akash", 20, 4, 15.0),
    Event(Kind.LATENCY_SPIKE, "aethir", 24, 4, 50.0),
    Event(Kind.DEMAND_SURGE, "tenant-gaming", 10, 12, 4.0),
)


def play(plan: Plan, *players: Player) -> list[Stage]:
    """Play a plan to its end."""
    return list(Game(plan, players or (GREEDY, GLOBAL)).play())


def plainly(said: ProviderSettings, name: str, events: Sequence[Event]) -> ProviderSettings:
    """Apply the events to one provider's settings: plain loops, written from the specification."""
    mine = [e for e in events if e.target in (name, "all")]
    lost = [e.target for e in events if e.kind == "region_loss"]

    def sizes(*kinds: str) -> list[float]:
        return [e.size for e in mine if e.kind in kinds]

    regions = [r for r in said.regions if r not in lost]
    prices, capacity = said.base_price_usd_per_hour, said.capacity_gpu_hours_per_step
    factor = prod(sizes("price_spike"))
    assert isinstance(capacity, float)
    return msgspec.structs.replace(
        said,
        enabled=bool(regions) and not sizes("outage", "flapping"),
        regions=regions or said.regions,
        base_price_usd_per_hour={g: p * factor for g, p in prices.items() if isinstance(p, float)},
        base_latency_ms=said.base_latency_ms + sum(sizes("latency_spike")),
        reputation=max(said.reputation - sum(sizes("reputation_drop")), 0.0),
        capacity_gpu_hours_per_step=capacity * prod(sizes("capacity_surge", "capacity_loss")),
    )


@pytest.mark.parametrize(
    ("events", "load", "arrivals"),
    [(DEFAULT_EVENTS, 1.0, 1), (STORM, 1.0, 1), (STORM, 12.0, 1), (STORM, 12.0, 5), ((), 30.0, 1)],
)
def test_greedy_decides_as_a_plain_loop_does(
    events: tuple[Event, ...], load: float, arrivals: int
) -> None:
    """Choice by choice, step by step, whatever happens; a request refused for budget takes none."""
    steps = 120 if events is DEFAULT_EVENTS else 30
    plan = Plan(SETTINGS, events, steps, seed=42, load=load, arrivals=arrivals)
    refused = 0

    for stage in play(plan, GREEDY):
        turn = stage.turns["greedy"]
        now = [e for e in events if e.in_force(stage.step)]
        providers = {n: plainly(p, n, now) for n, p in SETTINGS.providers.items()}
        wanted = greedy(
            turn.requests.to_pylist(), msgspec.structs.replace(SETTINGS, providers=providers)
        )
        rows = turn.decisions.select(["provider", "gpu_type"]).to_pylist()
        chosen = [(r["provider"], r["gpu_type"]) if r["provider"] else None for r in rows]
        assert chosen == wanted
        refused += chosen.count(None)

    assert refused > 0


def test_each_step_begins_with_whole_pools_and_budgets_of_its_own_fleet() -> None:
    """Nothing that one step spends is missing in the next, nor is any event's change of it."""
    plan = Plan(SETTINGS, STORM, 30, seed=1, load=20.0)

    for stage in play(plan):
        for turn in stage.turns.values():
            assert (turn.pool_used <= stage.fleet.pool_capacity * (1 + 1e-9)).all()
            spent = dict.fromkeys(SETTINGS.tenants, 0.0)
            for request, decision in zip(
                turn.requests.to_pylist(), turn.decisions.to_pylist(), strict=True
            ):
                spent[request["tenant_id"]] += decision["cost_usd"] or 0.0
            for tenant, said in SETTINGS.tenants.items():
                assert said.budget_usd_per_step is not None
                assert spent[tenant] <= said.budget_usd_per_step * (1 + 1e-9)


def test_the_same_plan_gives_the_same_decisions() -> None:
    """And another seed gives others."""
    plan = Plan(SETTINGS, STORM, 20, seed=7, load=8.0, arrivals=3)

    one, two = play(plan), play(plan)
    other = play(Plan(SETTINGS, STORM, 20, seed=8, load=8.0, arrivals=3))

    for a, b in zip(one, two, strict=True):
        assert all(a.turns[n].decisions.equals(b.turns[n].decisions) for n in a.turns)
    assert [s.turns["global"].value for s in one] != [s.turns["global"].value for s in other]


def test_a_refused_request_has_as_many_tries_as_its_patience_and_one() -> None:
    """It waits from step to step until it is served or its patience ends, and comes first."""
    outage = Event(Kind.OUTAGE, "all", 2, 4)
    plan = Plan(SETTINGS, (outage,), 12, seed=3, patience=2)
    tries: dict[str, list[tuple[int, str]]] = {}

    for stage in play(plan, GLOBAL):
        turn = stage.turns["global"]
        for row, waits in zip(turn.decisions.to_pylist(), turn.waits.tolist(), strict=True):
            tries.setdefault(row["request_id"], []).append((stage.step, row["reason"]))
            assert not (waits and row["reason"] == "ok")

    made = {len(t) for t in tries.values()}
    assert made == {1, 2, 3}
    for attempts in tries.values():
        steps = [step for step, _ in attempts]
        assert steps == list(range(steps[0], steps[0] + len(steps)))
        assert all(reason != "ok" for _, reason in attempts[:-1])
        if len(attempts) < 3:
            assert attempts[-1][1] == "ok"
    first = [t[0][0] for t in tries.values() if t[-1][1] != "ok"]
    assert set(first) == {2, 3}  # what was made in steps 4 and 5 is served in step 6


def test_a_step_without_requests_is_a_step() -> None:
    """Nothing asked for, nothing decided, nothing worth."""
    calm = Event(Kind.DEMAND_SURGE, "all", 3, 2, 0.0)

    stages = play(Plan(SETTINGS, (calm,), 8, seed=3))

    turn = stages[3].turns["global"]
    assert (turn.requests.num_rows, turn.decisions.num_rows, turn.value) == (0, 0, 0.0)
    assert turn.optimum == (0.0, 0.0)
    assert stages[5].turns["global"].requests.num_rows > 0


def test_budget_zero_serves_only_who_has_another() -> None:
    """A tenant without a cent is refused for its budget; the others are not."""
    tenants = dict(SETTINGS.tenants)
    broke = msgspec.structs.replace(tenants["tenant-dao"], budget_usd_per_step=0.0)
    settings = msgspec.structs.replace(SETTINGS, tenants=tenants | {"tenant-dao": broke})

    for policy in Policy:
        for stage in play(Plan(settings, (), 5), Player(str(policy), policy, settings)):
            turn = stage.turns[str(policy)]
            reasons = np.array(turn.decisions["reason"].to_pylist())
            dao = np.array(turn.requests["tenant_id"].to_pylist()) == "tenant-dao"
            assert set(reasons[dao]) <= {"budget_exceeded"}
            assert set(reasons[~dao]) == {"ok"}


def test_no_tenants_no_requests() -> None:
    """An empty run is a run."""
    settings = msgspec.structs.replace(SETTINGS, tenants={})

    stages = play(Plan(settings, (), 3))

    assert [s.turns["greedy"].decisions.num_rows for s in stages] == [0, 0, 0]
