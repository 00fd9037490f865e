"""The README's example is what the software answers."""

import json
import re
from pathlib import Path
from typing import Any

import aurora_batch as ab
from aurora_batch import schema

README = Path(__file__).parents[1] / "README.md"


def examples() -> tuple[dict[str, Any], dict[str, Any]]:
    """The request and the decision, as the README shows them."""
    request, decision = re.findall(r"```json\n(.*?)\n```", README.read_text(), re.DOTALL)
    return json.loads(request), json.loads(decision)


def decide(request: dict[str, Any]) -> dict[str, Any]:
    """The decision as JSON says it."""
    decision: dict[str, Any] = json.loads(
        schema.encode_json(schema.Decisions.of(ab.route([request]).decisions))[0].as_py()
    )
    return decision


def test_the_decision_shown_is_the_decision_made() -> None:
    """Request and decision belong together, field by field."""
    request, decision = examples()

    assert decide(request) == decision


def test_the_refusal_described_is_the_refusal_made() -> None:
    """With the lower limit the request is refused with the words that the README quotes."""
    request, _ = examples()
    refused = decide({**request, "max_price": 1.0})
    said = README.read_text()

    for field in ("status", "reason", "blocked_by", "remedy"):
        assert f'"{field}": {json.dumps(refused[field])}' in said
