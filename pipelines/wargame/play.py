"""A game from its first step to its last, and the accounts of it."""

from collections.abc import Callable

from aurora_batch.settings import Settings
from aurora_batch.wargame import waiting
from aurora_batch.wargame.costs import costs_of
from aurora_batch.wargame.game import Game, Player, Stage
from aurora_batch.wargame.yardstick import Optimum
from pipelines.contestants import contestants
from pipelines.wargame.account import Account, Run


def players(said: str | None, settings: Settings, *, arrivals: int) -> list[Player]:
    """Return who plays: a policy, or both; where a step arrives in parts, `batch_only` as well."""
    playing = contestants(said, settings, as_live=arrivals > 1)
    return [Player(c.name, c.policy, c.settings) for c in playing]


def played(
    game: Game, *, costs: bool = True, watch: Callable[[Stage], None] = lambda stage: None
) -> Run:
    """Play all steps; `costs` asks for those of each event too, `watch` sees each step."""
    stages = []
    for stage in game.play():
        stages.append(stage)
        watch(stage)
    accounts = [Account.of(p.name, stages, game.base) for p in game.players]
    if game.plan.patience:
        whole = waiting.optimum(game, [float(a.value.sum()) for a in accounts])
    else:
        each = [next(iter(stage.turns.values())).optimum for stage in stages]
        whole = Optimum(sum(o.value for o in each), sum(o.bound for o in each))
    held = float(game.base.pool_capacity.sum()) * game.plan.steps
    asked = float(game.requests["gpu_hours"].to_numpy().sum()) / held if held else float("inf")
    found = list(costs_of(game, stages)) if costs else []
    return Run(game.plan, stages, game.base, accounts, whole, asked, found)
