"""The run: each step is a window, decided by every player with production's `router.step`.

    requests of the step (and those that wait), in arrivals -> router.step -> decisions
    everything that was decided in it -> yardstick: what the step could have been worth

Players see the same requests and the same fleet, which events change between steps. A game depends
on its settings and seed alone; it looks at no clock.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aurora_batch import router
from aurora_batch.fleet import Fleet, fleet_from_settings
from aurora_batch.model import Policy, Reason
from aurora_batch.router import RouterState
from aurora_batch.schema import DECISION_SCHEMA, REQUEST_SCHEMA, microseconds_of
from aurora_batch.settings import Settings
from aurora_batch.wargame import yardstick
from aurora_batch.wargame.demand import START_US, requests_of, steps_of, window_us
from aurora_batch.wargame.effects import fleet_at
from aurora_batch.wargame.events import DEFAULT_EVENTS, Event, Kind, in_force
from aurora_batch.wargame.yardstick import NOTHING, Optimum

F64 = NDArray[np.float64]
I64 = NDArray[np.int64]


@dataclass(frozen=True)
class Player:
    """Who decides: a policy under settings of its own."""

    name: str
    policy: Policy
    settings: Settings


@dataclass(frozen=True)
class Plan:
    """What a game is made of."""

    settings: Settings
    events: tuple[Event, ...] = DEFAULT_EVENTS
    steps: int = 120
    seed: int = 42
    load: float = 1.0  # factor on every tenant's requests
    arrivals: int = 1  # batches that a step's requests arrive in
    patience: int = 0  # steps that a refused request waits for another try


@dataclass(frozen=True)
class Turn:
    """What one player made of one step."""

    requests: pa.Table  # decided in it, those that waited first; `REQUEST_SCHEMA`
    decisions: pa.Table  # a row a request, in their order
    waits: NDArray[np.bool_]  # which of the refused get another try
    value: float  # in the objective of `global`, at the scores of the step's start
    pool_used: F64  # (k,) GPU-hours
    pool_prices: F64  # (k,) value per GPU-hour, mean over the step's batches by requests
    optimum: Optimum = NOTHING  # of these requests in this step


@dataclass(frozen=True)
class Stage:
    """One step: the fleet as it was then, and every player's turn."""

    step: int
    fleet: Fleet
    events: tuple[Event, ...]  # in force
    turns: Mapping[str, Turn]  # by player


@dataclass(frozen=True)
class Position:
    """Where a player stands between two steps; never changed in place."""

    state: RouterState
    waiting: pa.Table = field(default_factory=REQUEST_SCHEMA.empty_table)
    tries_left: I64 = field(default_factory=lambda: np.zeros(0, np.int64))


class Game:
    """A plan with its requests made and its fleets derived."""

    def __init__(
        self, plan: Plan, players: Sequence[Player], requests: pa.Table | None = None
    ) -> None:
        self.plan, self.players = plan, tuple(players)
        self.base = fleet_from_settings(plan.settings.providers)
        if requests is None:
            requests = requests_of(
                plan.settings, plan.events, steps=plan.steps, seed=plan.seed, load=plan.load
            )
        self.requests = requests
        step = steps_of(self.requests, plan.settings)
        self._cuts = np.searchsorted(step, np.arange(plan.steps + 1)).tolist()
        self._fleets: dict[tuple[Event, ...], Fleet] = {}
        self.positions: list[dict[str, Position]] = []  # at the start of each step played

    def play(self) -> Iterator[Stage]:
        """Play the steps from the first to the last."""
        positions, self.positions = self.start(), []
        for step in range(self.plan.steps):
            self.positions.append(positions)
            stage, positions = self.stage(step, positions)
            yield stage

    def start(self) -> dict[str, Position]:
        """Return where the players stand before the first step."""
        return {p.name: Position(router.initial_state(self.base, p.settings)) for p in self.players}

    def stage(
        self, step: int, positions: Mapping[str, Position]
    ) -> tuple[Stage, dict[str, Position]]:
        """Play one step from where the players stand; return it and where they stand then."""
        stage, after = self.decided(step, positions)
        turns = stage.turns
        if not self.plan.patience:  # all have decided the same requests
            values = [turn.value for turn in turns.values()]
            new = self.requests_in(step)
            best = yardstick.of_step(new, stage.fleet, self.plan.settings, values)
            turns = {name: replace(turn, optimum=best) for name, turn in turns.items()}
        else:
            turns = {
                name: replace(
                    turn,
                    optimum=yardstick.of_step(
                        turn.requests, stage.fleet, self.plan.settings, [turn.value]
                    ),
                )
                for name, turn in turns.items()
            }
        return replace(stage, turns=turns), after

    def decided(
        self, step: int, positions: Mapping[str, Position]
    ) -> tuple[Stage, dict[str, Position]]:
        """The same without the yardstick."""
        events = in_force(self.plan.events, step)
        fleet = self.fleet(events)
        new = self.requests_in(step)
        made = {p.name: self._turn(p, positions[p.name], step, fleet, new) for p in self.players}
        turns = {name: turn for name, (turn, _) in made.items()}
        after = {name: position for name, (_, position) in made.items()}
        return Stage(step, fleet, events, turns), after

    def as_if(self, events: Sequence[Event]) -> "Game":
        """Return the same game with other events."""
        surges = (
            [e for e in of if e.kind is Kind.DEMAND_SURGE] for of in (self.plan.events, events)
        )
        same = next(surges) == next(surges)
        plan = replace(self.plan, events=tuple(events))
        return Game(plan, self.players, self.requests if same else None)

    def fleet(self, events: tuple[Event, ...]) -> Fleet:
        """Return the fleet while these events are in force; one value for one set of events."""
        if events not in self._fleets:
            self._fleets[events] = fleet_at(self.base, events)
        return self._fleets[events]

    def requests_in(self, step: int) -> pa.Table:
        """Return the requests that are made in a step."""
        low, high = self._cuts[step], self._cuts[step + 1]
        return self.requests.slice(low, high - low)

    def _turn(
        self, player: Player, position: Position, step: int, fleet: Fleet, new: pa.Table
    ) -> tuple[Turn, Position]:
        state, parts, prices = position.state, [], []
        for batch in self._batches(position.waiting, step, new):
            done = router.step(batch, fleet, state, player.settings, policy=player.policy)
            state = done.state
            parts.append((batch, done.decisions))
            prices.append(done.batch.pool_prices * batch.num_rows)
        if not parts:
            none = np.zeros(fleet.pool_capacity.size)
            empty = REQUEST_SCHEMA.empty_table()
            turn = Turn(empty, _NO_DECISIONS, np.zeros(0, np.bool_), 0.0, none, none)
            return turn, replace(position, state=state)
        requests = pa.concat_tables([batch for batch, _ in parts])
        decisions = pa.concat_tables([table for _, table in parts])
        # One batch before whole pools is valued as the step is; others at their own moment.
        value = done.batch.value
        if len(parts) > 1:
            value = yardstick.value_of(requests, decisions, fleet, player.settings)
        waits, tries_left = self._waiting(position, decisions)
        turn = Turn(
            requests, decisions, waits, value,
            fleet.pool_capacity - state.ledger.pool_left,
            np.sum(prices, axis=0) / requests.num_rows,
        )  # fmt: skip
        return turn, Position(state, requests.filter(pa.array(waits)), tries_left[waits])

    def _batches(self, waiting: pa.Table, step: int, new: pa.Table) -> Iterator[pa.Table]:
        """Yield what arrives together: the step in equal parts of its time, none of them empty.

        What waited comes first, as asked for at the step's start.
        """
        start = START_US + step * window_us(self.plan.settings)
        event_us = microseconds_of(new["requested_at"])
        part = (event_us - start) * self.plan.arrivals // window_us(self.plan.settings)
        cuts = np.searchsorted(part, np.arange(self.plan.arrivals + 1))
        for number in range(self.plan.arrivals):
            batch = new.slice(cuts[number], cuts[number + 1] - cuts[number])
            if number == 0 and waiting.num_rows:
                batch = pa.concat_tables([_asked_at(waiting, start), batch])
            if batch.num_rows:
                yield batch

    def _waiting(self, position: Position, decisions: pa.Table) -> tuple[NDArray[np.bool_], I64]:
        """Return which requests get another try, and how many tries are left to each, (n,)."""
        new = decisions.num_rows - position.tries_left.size
        tries = np.concatenate([position.tries_left - 1, np.full(new, self.plan.patience)])
        refused = decisions["reason"].to_numpy(zero_copy_only=False) != str(Reason.OK)
        return refused & (tries > 0), tries


def _asked_at(requests: pa.Table, event_us: int) -> pa.Table:
    """Return requests as if they were made at that time."""
    at = REQUEST_SCHEMA.get_field_index("requested_at")
    kind = REQUEST_SCHEMA.field(at).type
    moment = pa.repeat(pa.scalar(event_us, pa.int64()), requests.num_rows).cast(kind)
    return requests.set_column(at, REQUEST_SCHEMA.field(at), moment)


_NO_DECISIONS = DECISION_SCHEMA.empty_table()
