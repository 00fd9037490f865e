"""The small change of a scenario that hurts a policy most: one event's time, size or target.

A seeded search within a budget of runs: changes of one event are drawn at random, and the best one
so far is varied. Runs come in generations of a fixed size, so that they may be played side by side
and the answer is the same however many cores there are.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aurora_batch.wargame.events import EVERYONE, RULES, Event, Kind

GENERATION = 8
NEAR = 5  # steps that a variation moves an event by, at most

Events = tuple[Event, ...]
Score = Callable[[Sequence[Events]], Iterable[float]]  # of scenarios; lower hurts more


@dataclass(frozen=True)
class Found:
    """The most harmful scenario, and the change that makes it."""

    events: Events
    number: int | None  # of the event that is changed; None where no change hurts more
    score: float
    base_score: float
    runs: int


def search(
    events: Events,
    names: Callable[[Kind], Sequence[str]],
    score: Score,
    *,
    steps: int,
    budget: int,
    seed: int,
) -> Found:
    """Return the worst scenario that differs from `events` in one event.

    Parameters
    ----------
    names
        What an event of a kind can be aimed at.
    score
        Plays scenarios, at most `GENERATION` of them at once.
    budget
        Runs, that of `events` itself among them.
    """
    rng = np.random.default_rng(seed)
    (base_score,) = score([events])
    best = Found(events, None, base_score, base_score, 1)
    seen = {events}
    while best.runs < budget and events:
        tried: list[tuple[int, Events]] = []
        size = min(GENERATION, budget - best.runs)
        for _ in range(20 * size):  # chance repeats itself where there is little to change
            number, changed = _changed(events, best, names, steps, rng)
            if changed not in seen and len(tried) < size:
                seen.add(changed)
                tried.append((number, changed))
        if not tried:
            break
        scores = score([changed for _, changed in tried])
        runs = best.runs + len(tried)
        for (number, changed), found in zip(tried, scores, strict=True):
            if found < best.score:
                best = Found(changed, number, found, base_score, runs)
        best = replace(best, runs=runs)
    return best


def _changed(
    events: Events,
    best: Found,
    names: Callable[[Kind], Sequence[str]],
    steps: int,
    rng: np.random.Generator,
) -> tuple[int, Events]:
    """Return a scenario with one event changed: anyhow, or near the best one so far."""
    if best.number is not None and rng.random() < 0.5:
        number = best.number
        event = _near(best.events[number], events[number], steps, rng)
    else:
        number = int(rng.integers(len(events)))
        event = _anyhow(events[number], names(events[number].kind), steps, rng)
    return number, (*events[:number], event, *events[number + 1 :])


def _anyhow(event: Event, names: Sequence[str], steps: int, rng: np.random.Generator) -> Event:
    """Change time, target or size, or several of them."""
    which = rng.random(3) < 0.6
    latest = max(steps - event.duration, 0)
    step = int(rng.integers(latest + 1)) if which[0] else event.step
    others = [name for name in names if name != EVERYONE]
    target = str(rng.choice(others)) if which[1] and others else event.target
    size = _sized(event, float(rng.uniform(0.5, 2.0))) if which[2] else event.size
    return replace(event, step=step, target=target, size=size)


def _near(event: Event, base: Event, steps: int, rng: np.random.Generator) -> Event:
    """Move an event a little, and change its size within the same limits as ever."""
    latest = max(steps - event.duration, 0)
    step = int(np.clip(event.step + rng.integers(-NEAR, NEAR + 1), 0, latest))
    size = _sized(base, float(rng.uniform(0.5, 2.0))) if rng.random() < 0.5 else event.size
    return replace(event, step=step, size=size)


def _sized(event: Event, factor: float) -> float:
    """Return a size whose effect is about `factor` times as large, within the kind's limits."""
    rule = RULES[event.kind]
    if event.kind is Kind.FLAPPING:
        return float(max(1, round(event.size * factor)))
    neutral = 1.0 if "factor" in rule.meaning or "share" in rule.meaning else 0.0
    size = neutral + (event.size - neutral) * factor
    return round(min(max(size, rule.low), rule.high), 3)
