"""What runs on one instance are to each other."""

import math

import pytest

from benchmarks.runs import Run, compared, medians

NAN = float("nan")


def runs(value: float) -> list[Run]:
    """One method of each kind: with a value and a bound, a bound alone, a value alone."""
    return [
        Run("x", "ours", 0.1, value, 110.0),
        Run("x", "SciPy LP", 2.0, NAN, 100.0),
        Run("x", "greedy", 0.01, 50.0, NAN),
    ]


def test_values_stand_against_the_least_bound() -> None:
    """A method's own gap is to its own bound, its share to the least that any method knows."""
    ours, lp, greedy = compared(runs(99.0))

    assert (ours.of_best_bound, ours.own_gap) == (0.99, 0.1)
    assert math.isnan(lp.of_best_bound)
    assert greedy.of_best_bound == 0.5
    assert math.isnan(greedy.own_gap)


def test_times_stand_against_the_lp() -> None:
    """Twenty times as fast as SciPy's LP; without the LP there is no ratio."""
    assert [r.times_lp for r in compared(runs(99.0))] == pytest.approx([20.0, 1.0, 200.0])
    assert math.isnan(compared(runs(99.0)[:1])[0].times_lp)


def test_no_share_is_above_one() -> None:
    """A value a rounding above a claimed bound is the best bound itself."""
    assert compared(runs(100.00001))[0].of_best_bound == 1.0


def test_medians_are_by_method() -> None:
    """The median over seeds of each figure, methods in the order of the first seed."""
    found = medians([compared(runs(value)) for value in (90.0, 99.0, 95.0)])

    assert [r.method for r in found] == ["ours", "SciPy LP", "greedy"]
    assert found[0].of_best_bound == 0.95
