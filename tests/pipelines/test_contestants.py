"""Contestants: who decides a log, and who of them looks ahead."""

import pytest

from aurora_batch.model import Policy
from aurora_batch.settings import RouterSettings, Settings
from pipelines.contestants import contestants


@pytest.mark.parametrize(
    ("said", "as_live", "expected"),
    [
        ("both", False, {"greedy": False, "global": False}),
        ("both", True, {"greedy": True, "batch_only": False, "global": True}),
        ("global", True, {"global": True}),
        ("global", False, {"global": False}),
        ("greedy", True, {"greedy": True}),
        (None, True, {"global": True}),
    ],
)
def test_who_plays_and_who_looks_ahead(
    said: str | None, as_live: bool, expected: dict[str, bool]
) -> None:
    """By name, the one whose decisions are asked for last; a whole window is not looked beyond."""
    playing = contestants(said, Settings(), as_live=as_live)

    assert {c.name: c.settings.router.lookahead.enabled for c in playing} == expected
    assert list(expected) == [c.name for c in playing]
    assert [c.policy for c in playing] == [
        Policy.GREEDY if c.name == "greedy" else Policy.GLOBAL for c in playing
    ]


def test_the_configured_policy_is_the_default() -> None:
    """A contestant of one's own is named after its policy."""
    settings = Settings(router=RouterSettings(policy=Policy.GREEDY))

    assert [c.name for c in contestants(None, settings, as_live=True)] == ["greedy"]
