"""Events of a scenario: what changes, for whom, by how much, and in which steps.

An event is a value. Nothing is ever done to a fleet and undone: each step's fleet and demand are
derived from the base and the events in force, so overlapping events compose, and what ends leaves
what was, bit for bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What an event does while it is in force."""

    OUTAGE = "outage"
    PRICE_SPIKE = "price_spike"
    LATENCY_SPIKE = "latency_spike"
    CAPACITY_SURGE = "capacity_surge"
    CAPACITY_LOSS = "capacity_loss"
    REPUTATION_DROP = "reputation_drop"
    DEMAND_SURGE = "demand_surge"
    REGION_LOSS = "region_loss"
    FLAPPING = "flapping"


EVERYONE = "all"  # a target: every provider, or every tenant


@dataclass(frozen=True)
class Rule:
    """What an event of one kind is made of."""

    target: str  # a "provider", "region" or "tenant"
    size: float  # where the event says none; 0 where the kind has no size
    low: float  # least size
    high: float  # greatest size
    duration: int  # steps, where the event says none
    meaning: str  # of the size


RULES = {
    Kind.OUTAGE: Rule("provider", 0.0, 0.0, 0.0, 5, "none"),
    Kind.PRICE_SPIKE: Rule("provider", 1.5, 0.01, 100.0, 10, "factor on the prices"),
    Kind.LATENCY_SPIKE: Rule("provider", 200.0, 0.0, 1e6, 10, "milliseconds added"),
    Kind.CAPACITY_SURGE: Rule("provider", 1.5, 1.0, 1000.0, 10, "factor on the capacity"),
    Kind.CAPACITY_LOSS: Rule("provider", 0.5, 0.0, 1.0, 10, "share of the capacity that is left"),
    Kind.REPUTATION_DROP: Rule("provider", 10.0, 0.0, 100.0, 10, "points taken off"),
    Kind.DEMAND_SURGE: Rule("tenant", 2.0, 0.0, 1000.0, 10, "factor on the requests"),
    Kind.REGION_LOSS: Rule("region", 0.0, 0.0, 0.0, 10, "none"),
    Kind.FLAPPING: Rule("provider", 1.0, 1.0, 1000.0, 10, "steps down, then as many up"),
}


@dataclass(frozen=True)
class Event:
    """One event; in force in the steps `step <= s < end`."""

    kind: Kind
    target: str
    step: int  # >= 0
    duration: int  # steps, >= 1
    size: float = 0.0  # see `RULES`

    @property
    def end(self) -> int:
        """The first step after it."""
        return self.step + self.duration

    def in_force(self, step: int) -> bool:
        """Whether the event changes that step; flapping is up every other time."""
        if not self.step <= step < self.end:
            return False
        if self.kind is Kind.FLAPPING:
            return (step - self.step) // int(self.size) % 2 == 0
        return True

    def hits(self, name: str) -> bool:
        """Whether a provider, region or tenant of that name is meant."""
        return self.target in (name, EVERYONE)

    @property
    def label(self) -> str:
        """Short words for charts: `vast price x1.6`."""
        return f"{self.target} {_LABELS[self.kind].format(self.size)}"


_LABELS = {
    Kind.OUTAGE: "outage",
    Kind.PRICE_SPIKE: "price x{:g}",
    Kind.LATENCY_SPIKE: "latency +{:g} ms",
    Kind.CAPACITY_SURGE: "capacity x{:g}",
    Kind.CAPACITY_LOSS: "capacity x{:g}",
    Kind.REPUTATION_DROP: "reputation -{:g}",
    Kind.DEMAND_SURGE: "demand x{:g}",
    Kind.REGION_LOSS: "region lost",
    Kind.FLAPPING: "flapping",
}

# The documented scenario (spec, section 5).
DEFAULT_EVENTS = (
    Event(Kind.PRICE_SPIKE, "vast", 20, 10, 1.6),
    Event(Kind.OUTAGE, "akash", 35, 10),
    Event(Kind.LATENCY_SPIKE, "render", 50, 15, 200.0),
    Event(Kind.CAPACITY_SURGE, "ionet", 70, 25, 1.5),
    Event(Kind.REPUTATION_DROP, "salad", 90, 20, 10.0),
)


def in_force(events: Sequence[Event], step: int) -> tuple[Event, ...]:
    """Return the events that change a step, in their order."""
    return tuple(event for event in events if event.in_force(step))


def down_spells(up: Sequence[bool]) -> Iterator[tuple[int, int]]:
    """Yield (first step, steps) of each spell in which `up` is false.

    >>> list(down_spells([True, False, False, True, False]))
    [(1, 2), (4, 1)]
    """
    first = None
    for step, is_up in enumerate([*up, True]):
        if not is_up and first is None:
            first = step
        elif is_up and first is not None:
            yield first, step - first
            first = None
