"""Scenario files: events on a schedule, drawn from a seeded process, or read from a trace.

    events:
      - {type: price_spike, step: 20, target: vast, size: 1.6}
      - {type: outage, step: 35, target: akash, duration: 10}
    draws:                       # about one event in `every` steps, its target one of `targets`
      - {type: flapping, every: 40, duration: [4, 12], size: [1, 3], targets: [vast, salad]}
    traces:                      # outages where the trace says that the provider was away
      - {target: vast, file: spot.json}

A trace is `{"gap_seconds": 600, "available": [1, 0, ...]}`, or, as spot markets' traces are
published, `{"metadata": {"gap_seconds": 600}, "data": [0, 1, ...]}`, where 1 is *not* available.
Steps after its last tick are up.
"""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta
from msgspec.structs import fields

from aurora_batch.errors import SettingsError
from aurora_batch.settings import Section, Settings
from aurora_batch.settings_types import Count, Positive, convert, describe, show
from aurora_batch.strict_yaml import read_document
from aurora_batch.wargame.events import (
    DEFAULT_EVENTS,
    EVERYONE,
    RULES,
    Event,
    Kind,
    down_spells,
)

StepNumber = Annotated[int, Meta(ge=0, le=2**31 - 1)]


class EventSaid(Section, frozen=True, kw_only=True):
    """An event as a file says it."""

    type: Kind
    step: StepNumber
    target: str = EVERYONE
    duration: Count | None = None
    size: float | None = None


class Draw(Section, frozen=True, kw_only=True):
    """Events that come by chance: in each step one with probability 1 / `every`."""

    type: Kind
    every: Annotated[float, Meta(ge=1)]
    targets: list[str] = []  # noqa: RUF012 (msgspec copies it)
    duration: tuple[Count, Count] | None = None
    size: tuple[float, float] | None = None


class TraceSaid(Section, frozen=True, kw_only=True):
    """A provider whose availability is read from a file."""

    target: str
    file: str


class Gap(msgspec.Struct):
    """Where published traces say their gap."""

    gap_seconds: Positive


Tick = Annotated[int, Meta(ge=0, le=1)]


def load(path: Path | None, settings: Settings, *, steps: int, seed: int) -> tuple[Event, ...]:
    """Return the events of a scenario file, in the order of the file; None: the documented ones.

    Of the documented ones, those are left out whose provider is not configured.

    Raises
    ------
    SettingsError
        Names file, key, value and what was expected: a kind, a target, a number out of range.
    """
    if path is None:
        known = _targets(settings)["provider"]
        return tuple(event for event in DEFAULT_EVENTS if event.target in known)
    document = read_document(path, str(path))
    sections = ("events", "draws", "traces")
    if document is None:
        return ()
    if not isinstance(document, dict):
        expected = f"a mapping with {', '.join(sections)}"
        raise SettingsError(str(path), "the file", show(document), expected)
    for name in document:
        if name not in sections:
            raise SettingsError(str(path), name, "unknown", f"one of {', '.join(sections)}")
    source = _Source(str(path), settings)
    events = [source.event(key, said) for key, said in source.items(document, "events")]
    for number, (key, said) in enumerate(source.items(document, "draws")):
        events += source.drawn(key, said, steps, np.random.default_rng([seed, number]))
    for key, said in source.items(document, "traces"):
        events += source.traced(key, said, path.parent, steps)
    return tuple(events)


def to_document(events: Sequence[Event]) -> dict[str, Any]:
    """Return a scenario file's value that `load` reads as these events."""
    said = []
    for event in events:
        entry: dict[str, Any] = {"type": str(event.kind), "step": event.step}
        entry |= {"target": event.target, "duration": event.duration}
        said.append(entry | ({"size": event.size} if RULES[event.kind].high else {}))
    return {"events": said}


class _Source:
    """One file, and what can be named in it."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._name, self._names = name, targets(settings)
        self._window_s = settings.router.window_s

    def items(self, document: dict[str, Any], section: str) -> list[tuple[str, Any]]:
        """Return (key, value) of each entry of a section."""
        entries = document.get(section)
        if entries is None:
            return []
        if not isinstance(entries, list):
            raise self._error(section, entries, "a list")
        return [(f"{section}.{number}", entry) for number, entry in enumerate(entries)]

    def event(self, key: str, value: Any) -> Event:
        """Return an event on a schedule."""
        said = self._read(EventSaid, key, value)
        self._expect(f"{key}.target", said.target, self._names(said.type))
        size = RULES[said.type].size if said.size is None else self._size(key, said.type, said.size)
        return Event(
            said.type, said.target, said.step, said.duration or RULES[said.type].duration, size
        )

    def drawn(self, key: str, value: Any, steps: int, rng: np.random.Generator) -> list[Event]:
        """Return the events that chance brings."""
        draw = self._read(Draw, key, value)
        rule, names = RULES[draw.type], self._names(draw.type)
        for target in draw.targets:
            self._expect(f"{key}.targets", target, names)
        aims = draw.targets or [name for name in names if name != EVERYONE]
        shortest, longest = draw.duration or (rule.duration, rule.duration)
        low, high = draw.size or (rule.size, rule.size)
        for name, pair in (("duration", (shortest, longest)), ("size", (low, high))):
            if pair[0] > pair[1]:
                raise self._error(f"{key}.{name}", list(pair), "[low, high] with low <= high")
        self._size(key, draw.type, low)
        self._size(key, draw.type, high)
        # Every step draws all its numbers, so that one that came does not move the others.
        comes = rng.random(steps) < 1 / draw.every
        who = rng.integers(max(len(aims), 1), size=steps)
        length = rng.integers(shortest, longest + 1, steps)
        size = low + (high - low) * rng.random(steps)
        return [
            Event(draw.type, aims[who[step]], step, int(length[step]), round(float(size[step]), 3))
            for step in np.flatnonzero(comes & bool(aims)).tolist()
        ]

    def traced(self, key: str, value: Any, folder: Path, steps: int) -> list[Event]:
        """Return the outages of a trace; a step is as the tick at its start says."""
        said = self._read(TraceSaid, key, value)
        self._expect(f"{key}.target", said.target, self._names(Kind.OUTAGE))
        path = folder / said.file
        gap_s, up = read_trace(path)
        ticks = [int(step * self._window_s / gap_s) for step in range(steps)]
        state = [up[tick] if tick < len(up) else True for tick in ticks]
        spells = down_spells(state)
        return [Event(Kind.OUTAGE, said.target, first, length) for first, length in spells]

    def _read(self, kind: Any, key: str, value: Any) -> Any:
        """Return a value as a section of that kind, field by field, for the error to name it."""
        if not isinstance(value, dict):
            raise self._error(key, value, describe(kind))
        known = {f.name: f for f in fields(kind)}
        made = {}
        for name, said in value.items():
            if name not in known:
                raise self._error(f"{key}.{name}", said, f"one of {', '.join(known)}")
            try:
                made[name] = convert(said, known[name].type)
            except (msgspec.ValidationError, ValueError):
                raise self._error(f"{key}.{name}", said, describe(known[name].type)) from None
        for name, f in known.items():
            if f.required and name not in made:
                raise SettingsError(self._name, f"{key}.{name}", "missing", describe(f.type))
        return kind(**made)

    def _expect(self, key: str, name: str, known: Collection[str]) -> None:
        if name not in known:
            raise self._error(key, name, f"one of {', '.join(known)}")

    def _size(self, key: str, kind: Kind, size: float) -> float:
        rule = RULES[kind]
        if not rule.low <= size <= rule.high:
            expected = f"{rule.meaning}, from {rule.low:g} to {rule.high:g}"
            raise self._error(f"{key}.size", size, expected if rule.high else "no size")
        return size

    def _error(self, key: str, value: Any, expected: str) -> SettingsError:
        return SettingsError(self._name, key, show(value), expected)


def read_trace(path: Path) -> tuple[float, list[bool]]:
    """Return the gap between ticks in seconds, and whether the provider was up at each.

    Raises `SettingsError` where the file is no such trace.
    """
    document = read_document(path, str(path))
    expected = '{"gap_seconds": 600, "available": [1, 0, ...]}'
    if not isinstance(document, dict):
        raise SettingsError(str(path), "the file", show(document), expected)
    published = "metadata" in document
    where = document["metadata"] if published else document
    key = "data" if published else "available"
    try:
        gap_s = msgspec.convert(where, Gap).gap_seconds
        ticks = msgspec.convert(document.get(key), list[Tick])
    except msgspec.ValidationError as error:
        raise SettingsError(str(path), "the trace", str(error), expected) from None
    return gap_s, [bool(tick) != published for tick in ticks]


def targets(settings: Settings) -> Callable[[Kind], list[str]]:
    """Return what tells the names that an event of a kind can be aimed at."""
    named = _targets(settings)

    def names(kind: Kind) -> list[str]:
        known = named[RULES[kind].target]
        return known if kind is Kind.REGION_LOSS else [*known, EVERYONE]

    return names


def _targets(settings: Settings) -> dict[str, list[str]]:
    providers = {name: p for name, p in settings.providers.items() if p.enabled}
    regions = dict.fromkeys(r for p in providers.values() for r in p.regions)
    return {
        "provider": list(providers),
        "region": [r for r in regions if r != "global"],
        "tenant": list(settings.tenants),
    }
