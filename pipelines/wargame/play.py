"""A game from its first step to its last, and the accounts of it."""

from collections.abc import Sequence

from aurora_batch.settings import Settings
from aurora_batch.wargame.game import Game, Player
from aurora_batch.wargame.yardstick import Optimum
from pipelines.contestants import contestants
from pipelines.wargame.account import Account, Run


def players(said: str | None, settings: Settings, *, arrivals: int) -> list[Player]:
    """Return who plays: a policy, or both; where a step arrives in parts, `batch_only` as well."""
    playing = contestants(said, settings, as_live=arrivals > 1)
    return [Player(c.name, c.policy, c.settings) for c in playing]


def played(game: Game) -> Run:
    """Play all steps."""
    stages = list(game.play())
    optimum: Sequence[Optimum] = [stage.optimum for stage in stages]
    whole = Optimum(sum(o.value for o in optimum), sum(o.bound for o in optimum))
    accounts = [Account.of(p.name, stages, game.base) for p in game.players]
    return Run(stages, game.base, accounts, optimum, whole)
