"""What each event cost each player: its steps once more as if the event had not been.

The steps are decided again from where the player stood when the event began, all else alike, and
the two are compared; where refused requests wait, until the last of them has had its tries.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aurora_batch.wargame import yardstick
from aurora_batch.wargame.events import Event
from aurora_batch.wargame.game import Game, Stage, Turn


@dataclass(frozen=True)
class EventCost:
    """One event and one player; losses are positive."""

    event: Event
    player: str
    requests: int  # made in its steps, with the event
    fill_lost: float  # share of the requests, 0..1
    extra_usd: float  # paid more for the requests that are routed either way
    value: float
    share: float  # of the value without the event


def costs_of(game: Game, stages: Sequence[Stage]) -> Iterator[EventCost]:
    """Yield what each event cost, event by event; `stages` are all that `game.play` gave."""
    for number, event in enumerate(game.plan.events):
        if event.step >= game.plan.steps:
            continue
        without = game.as_if(game.plan.events[:number] + game.plan.events[number + 1 :])
        last = min(event.end + game.plan.patience, game.plan.steps)
        positions, otherwise = game.positions[event.step], []
        for step in range(event.step, last):
            stage, positions = without.decided(step, positions)
            otherwise.append(stage)
        for player in game.players:
            yield _cost(
                event,
                player.name,
                [stage.turns[player.name] for stage in stages[event.step : last]],
                [stage.turns[player.name] for stage in otherwise],
            )


def _cost(event: Event, player: str, really: list[Turn], otherwise: list[Turn]) -> EventCost:
    paid, fill, value = _sums(really)
    paid_otherwise, fill_otherwise, value_otherwise = _sums(otherwise)
    return EventCost(
        event, player, sum(turn.requests.num_rows for turn in really), fill_otherwise - fill,
        _paid_more(paid, paid_otherwise), value_otherwise - value,
        yardstick.regret(value, value_otherwise),
    )  # fmt: skip


def _paid_more(really: pa.Table, otherwise: pa.Table) -> float:
    """Return USD paid more for the requests of both tables, in which each is once."""
    ids = otherwise["request_id"].combine_chunks()
    place = pc.index_in(really["request_id"], value_set=ids).combine_chunks()
    both = place.is_valid()
    usd = really["cost_usd"].combine_chunks().filter(both)
    usd_otherwise = otherwise["cost_usd"].combine_chunks().take(place.drop_null())
    return float(np.sum(usd.to_numpy() - usd_otherwise.to_numpy()))


def _sums(turns: list[Turn]) -> tuple[pa.Table, float, float]:
    """Return what was paid for each routed request, the fill rate and the value."""
    decisions = pa.concat_tables([turn.decisions for turn in turns])
    routed = decisions.filter(pc.is_valid(decisions["provider"]))
    ended = decisions.num_rows - sum(int(turn.waits.sum()) for turn in turns)
    fill = routed.num_rows / ended if ended else 1.0
    value = float(np.sum([turn.value for turn in turns]))
    return routed.select(["request_id", "cost_usd"]), fill, value
