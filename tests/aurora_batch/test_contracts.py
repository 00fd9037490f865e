"""The published contracts are the code's, and say what the decoder does."""

import json
from typing import Any

import jsonschema
import pyarrow as pa
import pytest

from aurora_batch import contracts
from aurora_batch.schema import (
    DECISION_SCHEMA,
    Decisions,
    dead_letter_headers,
    decode_json,
    encode_json,
    encode_requests_json,
)
from aurora_batch.schema.records import Record
from tests.aurora_batch.schema.payloads import BAD, GOOD
from tests.aurora_batch.schema.test_encoding import FULL, decision

REQUEST = jsonschema.Draft202012Validator(contracts.request_schema())
DECISION = jsonschema.Draft202012Validator(contracts.decision_schema())


def as_json(payload: bytes | None) -> Any:
    """Parse; `...` for what is not JSON, about which a JSON Schema has no word."""
    try:
        return json.loads((payload or b"").decode(), parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError):
        return ...


SPEAKABLE = {name: said for name, (bad, _, _) in BAD.items() if (said := as_json(bad)) is not ...}
# Beyond JSON Schema: bytes, code points and calendars.
UNSPEAKABLE = {"2 MB", "30 February", "lone surrogate"}


@pytest.mark.parametrize("name", contracts.documents())
def test_published_document_is_what_the_code_says(name: str) -> None:
    """If this fails, run `python -m aurora_batch.contracts`."""
    assert (contracts.DOCS / name).read_text(encoding="utf-8") == contracts.documents()[name]


@pytest.mark.parametrize("validator", [REQUEST, DECISION], ids=["request", "decision"])
def test_schemas_are_json_schemas(validator: jsonschema.Draft202012Validator) -> None:
    """By their own dialect."""
    jsonschema.Draft202012Validator.check_schema(validator.schema)


@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD)
def test_schema_accepts_what_the_decoder_accepts(good: bytes) -> None:
    """Every good payload."""
    assert list(REQUEST.iter_errors(json.loads(good))) == []


@pytest.mark.parametrize("name", sorted(SPEAKABLE.keys() - UNSPEAKABLE))
def test_schema_rejects_what_the_decoder_rejects(name: str) -> None:
    """Every bad payload that is JSON, as far as the language can say it."""
    assert not REQUEST.is_valid(SPEAKABLE[name])


@pytest.mark.parametrize("name", sorted(UNSPEAKABLE))
def test_exceptions_are_still_needed(name: str) -> None:
    """A kind that the schema does reject does not belong among the exceptions."""
    assert REQUEST.is_valid(SPEAKABLE[name])


def test_requests_as_we_write_them_fit() -> None:
    """What `aurora produce` sends."""
    requests = decode_json([GOOD["least"], GOOD["all"].replace(b'"bad"', b'"b"')], None)

    for line in encode_requests_json(requests.requests):
        REQUEST.validate(json.loads(line))


def test_decisions_as_we_write_them_fit() -> None:
    """A full one and one with nulls."""
    table = pa.Table.from_pylist([FULL, decision(status="rejected")], schema=DECISION_SCHEMA)

    for line in encode_json(Decisions.of(table)).to_pylist():
        DECISION.validate(json.loads(line))


def resolve(document: dict[str, Any], reference: str) -> Any:
    """Follow a reference within the document, or to a file beside it."""
    if not reference.startswith("#/"):
        return json.loads((contracts.DOCS / reference).read_text(encoding="utf-8"))
    for part in reference.removeprefix("#/").split("/"):
        document = document[part]
    return document


def references(node: Any) -> list[str]:
    """Every `$ref` below a node."""
    if isinstance(node, list):
        return [r for item in node for r in references(item)]
    if not isinstance(node, dict):
        return []
    below = [r for value in node.values() for r in references(value)]
    return below + ([node["$ref"]] if "$ref" in node else [])


def test_asyncapi_names_the_topics_and_resolves() -> None:
    """The five topics of the specification, and no dangling reference."""
    document = contracts.asyncapi()

    assert document["asyncapi"] == "3.0.0"
    assert {channel["address"] for channel in document["channels"].values()} == {
        "aurora.requests",
        "aurora.decisions",
        "aurora.requests.dlq",
        "aurora.outcomes",
        "aurora.ledger",
    }
    for reference in references(document):
        assert resolve(document, reference)


def test_dead_letters_have_the_documented_headers() -> None:
    """Those of a real one are those of the document, and the required ones are there."""
    (rejection,) = decode_json([b"{"], None).rejections
    record = Record(b"{", None, "t", 0, 1, 2)
    headers = dict(dead_letter_headers(record, rejection))
    documented = contracts.asyncapi()["components"]["messages"]["dlq"]["headers"]

    assert headers.keys() == documented["properties"].keys() - {
        "aurora-row",
        "aurora-cut-from-bytes",
        "aurora-redriven-from",
    }
    assert set(documented["required"]) <= headers.keys()
    jsonschema.validate({k: v.decode() for k, v in headers.items()}, documented)
