"""The clairvoyant: nobody is better, and its own regret is zero."""

import numpy as np
import pytest

from aurora_batch.allocation import solve
from aurora_batch.hindsight import Piece
from aurora_batch.settings import Settings
from aurora_batch.wargame import waiting
from aurora_batch.wargame.events import DEFAULT_EVENTS, Event, Kind
from aurora_batch.wargame.game import Game, Plan
from aurora_batch.wargame.yardstick import NOTHING, Optimum, of_step, regret
from pipelines.wargame.play import players

SETTINGS = Settings()
SCARCE = (*DEFAULT_EVENTS, Event(Kind.CAPACITY_LOSS, "all", 5, 10, 0.2))


@pytest.mark.parametrize("arrivals", [1, 4])
@pytest.mark.parametrize("load", [1.0, 4.0, 12.0])
def test_regret_is_never_negative(load: float, arrivals: int) -> None:
    """Of any player in any step, whether or not look-ahead prices are charged."""
    plan = Plan(SETTINGS, SCARCE, 20, seed=5, load=load, arrivals=arrivals)
    game = Game(plan, players("both", SETTINGS, arrivals=arrivals))

    for stage in game.play():
        for turn in stage.turns.values():
            best = turn.optimum
            assert regret(turn.value, best.value) >= -1e-9
            assert best.value <= best.bound
            assert turn.value <= best.bound


def test_the_optimum_is_exact_where_it_can_be_proven() -> None:
    """On few requests it is what SciPy's branch and bound finds."""
    plan = Plan(SETTINGS, (Event(Kind.CAPACITY_LOSS, "all", 0, 6, 0.03),), 6, seed=2)
    game = Game(plan, players("both", SETTINGS, arrivals=1))

    for stage in game.play():
        problem = Piece.of(game.requests_in(stage.step), stage.fleet, SETTINGS).task.problem
        exact = solve(problem, method="exact")
        assert exact.status == "optimal"
        best = stage.turns["global"].optimum
        assert best.value == pytest.approx(exact.value, rel=2e-4)
        assert best.bound >= exact.value * (1 - 1e-9)


def test_a_player_who_is_better_than_the_solve_is_the_clairvoyant() -> None:
    """Values that are known take part, so that no regret is below zero."""
    game = Game(Plan(SETTINGS, (), 1), [])
    found = of_step(game.requests_in(0), game.base, SETTINGS, [1e6])

    assert found == Optimum(1e6, 1e6)
    assert regret(1e6, found.value) == 0.0
    assert of_step(game.requests_in(0).slice(0, 0), game.base, SETTINGS, []) == NOTHING


@pytest.mark.parametrize("patience", [1, 3])
def test_where_requests_wait_no_player_is_better_than_the_whole_run(patience: int) -> None:
    """The bound holds for all, and is near the best plan found."""
    plan = Plan(SETTINGS, SCARCE, 18, seed=4, load=3.0, patience=patience)
    game = Game(plan, players("both", SETTINGS, arrivals=1))
    stages = list(game.play())
    values = [sum(s.turns[p.name].value for s in stages) for p in game.players]

    best = waiting.optimum(game, values)

    assert best == waiting.optimum(game, values)
    assert max(values) <= best.value <= best.bound
    assert best.bound - best.value < 0.01 * best.bound
    for stage in stages:
        assert all(regret(t.value, t.optimum.value) >= -1e-9 for t in stage.turns.values())


def test_without_waiting_both_ways_to_the_optimum_agree() -> None:
    """The whole run as one problem, and the sum of its steps."""
    plan = Plan(SETTINGS, SCARCE, 16, seed=4, load=2.0)
    game = Game(plan, players("global", SETTINGS, arrivals=1))
    steps = [stage.turns["global"].optimum for stage in game.play()]

    best = waiting.optimum(game, [0.0])

    assert best.bound == pytest.approx(sum(s.bound for s in steps), rel=2e-3)
    assert best.bound >= sum(s.value for s in steps) * (1 - 1e-9)
    assert np.isclose(best.value, sum(s.value for s in steps), rtol=5e-3)


def test_a_run_without_requests_is_worth_nothing() -> None:
    """Nothing to serve, nothing lost."""
    plan = Plan(SETTINGS, (Event(Kind.DEMAND_SURGE, "all", 0, 3, 0.0),), 3, patience=1)

    assert waiting.optimum(Game(plan, []), []) == NOTHING
    assert regret(0.0, 0.0) == 0.0
