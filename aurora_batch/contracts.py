"""What strangers program against: JSON Schemas of requests and decisions, AsyncAPI of the topics.

Generated from the tables that the decoder itself goes by; `python -m aurora_batch.contracts`
writes them to `docs/`, and a test compares.
"""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from aurora_batch.model import WEIGHTS, Fault, Policy, Reason, Status
from aurora_batch.schema import ARROW_CONTENT_TYPE, DECISION_SCHEMA, REQUEST_SCHEMA, SCHEMA_VERSION
from aurora_batch.schema.fields import (
    CONTROL,
    GPU,
    MAX_ARROW_BYTES,
    MAX_ARROW_ROWS,
    MAX_JSON_BYTES,
    NUMBERS,
    REQUIRED,
    TEXTS,
    WEIGHT_NUMBERS,
    Number,
    Text,
)

Json = dict[str, Any]
DOCS = Path(__file__).parent.parent / "docs"
_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_PLAIN = {"not": {"type": "string", "pattern": CONTROL}}
_NAMED = r"[^\W_]"  # a letter or digit somewhere
_DAY = r"(19[7-9][0-9]|2[01][0-9]{2})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_CLOCK = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
_TIME = rf"^{_DAY}[Tt ]{_CLOCK}([Zz]|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"

_ABOUT = {
    "request_id": "Who asks calls it so; decisions are joined by it. Unique.",
    "tenant_id": "Whose budget, default limits and weights apply; an unknown one has the router's.",
    "workload_type": "llm_inference, llm_training, rendering, general, or any configured name.",
    "gpu_type": "Case, separators, vendor and series prefixes do not matter (RTX4090 = 4090); "
    f"several names are any of these. At most {GPU.longest} characters in all.",
    "region": "Where it may run; global is anywhere.",
    "gpu_hours": "How much is asked for.",
    "max_price": "USD per hour.",
    "max_latency_ms": "Milliseconds.",
    "min_reputation": "Of the provider.",
    "weights": "Of the score; what is missing takes the tenant's, then the router's. "
    "Not all four zero.",
    "priority": "How much serving this request counts against others.",
    "requested_at": "RFC 3339 with offset; else the record's timestamp, and never more than "
    "`router.max_clock_skew_s` ahead of it.",
}


def request_schema() -> Json:
    """Return the JSON Schema of a request."""
    fields: Json = {f.name: _text(f) for f in TEXTS} | {f.name: _number(f) for f in NUMBERS}
    fields["gpu_type"] = {
        "oneOf": [
            {**fields["gpu_type"], "pattern": _NAMED},
            {
                "type": "array",
                "items": {"type": "string", **_PLAIN},
                "contains": {"pattern": _NAMED},
            },
        ]
    }
    fields["region"] |= {"default": "global", "pattern": "[^ ]"}
    fields["priority"]["default"] = 1.0
    fields["weights"] = _weights()
    fields["requested_at"] = {
        "type": ["string", "null"],
        "format": "date-time",
        "pattern": _TIME,
    }
    properties = {f.name: {"description": _ABOUT[f.name], **fields[f.name]} for f in REQUEST_SCHEMA}
    return {
        "$schema": _DIALECT,
        "title": "Request",
        "description": f"One ask for compute, at most {MAX_JSON_BYTES} bytes of JSON. Unknown "
        "members are ignored and counted; an optional member may be null.",
        "type": "object",
        "properties": properties,
        "required": list(REQUIRED),
        "additionalProperties": True,
    }


def _type(name: str, required: bool) -> str | list[str]:
    return name if required else [name, "null"]


def _text(field: Text) -> Json:
    return {
        "type": _type("string", field.required),
        "minLength": 1,
        "maxLength": field.longest,
        **_PLAIN,
    }


def _number(field: Number) -> Json:
    low = "exclusiveMinimum" if field.open_low else "minimum"
    high = min(field.high, 1.7976931348623157e308)  # finite
    return {"type": _type("number", field.required), low: field.low, "maximum": high}


def _weights() -> Json:
    zero = {"required": list(WEIGHTS), "properties": {name: {"const": 0} for name in WEIGHTS}}
    return {
        "type": ["object", "null"],
        "properties": {field.name: _number(field) for field in WEIGHT_NUMBERS},
        "additionalProperties": True,
        "not": {"type": "object", **zero},
    }


def decision_schema() -> Json:
    """Return the JSON Schema of a decision; every member is always there."""
    properties = {f.name: _arrow(f.type, nullable=f.nullable) for f in DECISION_SCHEMA}
    properties["status"]["enum"] = [s.value for s in Status]
    properties["reason"]["enum"] = [r.value for r in (*Reason, *Fault)]
    properties["policy"]["enum"] = [*(p.value for p in Policy), None]
    return {
        "$schema": _DIALECT,
        "title": "Decision",
        "description": "What became of a request; joined to it by `request_id`.",
        "type": "object",
        "properties": properties,
        "required": DECISION_SCHEMA.names,
        "additionalProperties": False,
    }


def _arrow(kind: Any, *, nullable: bool) -> Json:
    """Return the JSON Schema of an Arrow type as `schema.encode_json` writes it."""
    if pa.types.is_list(kind):
        return {"type": "array", "items": _arrow(kind.value_type, nullable=False)}
    if pa.types.is_struct(kind):
        members = {f.name: _arrow(f.type, nullable=True) for f in kind}
        return {"type": "object", "properties": members, "required": list(members)}
    if pa.types.is_timestamp(kind):
        return {"type": _type("string", not nullable), "format": "date-time"}
    name = "number" if pa.types.is_floating(kind) else "string"
    return {"type": _type(name, not nullable)}


_TOPICS = {
    "requests": ("aurora.requests", "receive", "Requests, one as JSON or many as Arrow IPC."),
    "decisions": ("aurora.decisions", "send", "A decision a request, in the form of the request."),
    "dlq": ("aurora.requests.dlq", "send", "Records that are no request, as they were sent."),
    "outcomes": ("aurora.outcomes", "receive", "What really happened to a decision."),
    "ledger": ("aurora.ledger", "send", "Snapshots of pools and budgets by shard; compacted."),
}


def asyncapi() -> Json:
    """Return the AsyncAPI 3 document of the topics."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Aurora Batch",
            "version": f"{SCHEMA_VERSION}.0.0",
            "description": "Requests for GPU compute in, decisions out. "
            "Topic names are the defaults.",
        },
        "defaultContentType": "application/json",
        "channels": {
            key: {
                "address": topic,
                "description": about,
                "messages": {key: {"$ref": f"#/components/messages/{key}"}},
            }
            for key, (topic, _, about) in _TOPICS.items()
        },
        "operations": {
            key: {
                "action": action,
                "channel": {"$ref": f"#/channels/{key}"},
                "messages": [{"$ref": f"#/channels/{key}/messages/{key}"}],
            }
            for key, (_, action, _) in _TOPICS.items()
        },
        "components": {"messages": _messages()},
    }


def _messages() -> Json:
    text = {"type": "string"}
    form = {"content-type": {**text, "examples": ["application/json", ARROW_CONTENT_TYPE]}}
    carried = {
        "traceparent": {**text, "description": "W3C trace context; travels to the decision."}
    }
    trail = {
        "aurora-batch": {
            **text,
            "description": "On the first message of each micro-batch, a dead letter where it has "
            "no decision: its offsets, the certificate of each batch, where the clock ended a "
            "solve; JSON.",
        }
    }
    arrow = f"Arrow: at most {MAX_ARROW_BYTES} bytes, {MAX_ARROW_ROWS} rows."
    outcome = {"type": "object", "properties": {"decision_id": text}, "required": ["decision_id"]}
    return {
        "requests": {
            "summary": f"A request. {arrow}",
            "headers": {"type": "object", "properties": {**form, **carried}},
            "payload": {"$ref": "./schemas/request.schema.json"},
        },
        "decisions": {
            "summary": "A decision.",
            "headers": {"type": "object", "properties": {**form, **carried, **trail}},
            "payload": {"$ref": "./schemas/decision.schema.json"},
        },
        "dlq": _dead_letter(),
        "outcomes": {"summary": "An outcome, joined by `decision_id`.", "payload": outcome},
        "ledger": {
            "summary": "What is left of pools and budgets.",
            "payload": {"type": "object"},
        },
    }


def _dead_letter() -> Json:
    text = {"type": "string"}
    reasons = {
        "aurora-reason": {**text, "enum": [f.value for f in Fault]},
        "aurora-detail": {**text, "description": "Field, expectation and the value, cut short."},
        "aurora-topic": text,
        "aurora-partition": text,
        "aurora-offset": text,
        "aurora-row": {**text, "description": "Of an Arrow payload; the value is that row alone."},
        "aurora-schema-version": text,
        "aurora-timestamp": {**text, "format": "date-time"},
    }
    may = {
        "aurora-cut-from-bytes": {**text, "description": "Size, where the value was cut short."},
        "aurora-redriven-from": {
            **text,
            "description": "TOPIC:PARTITION:OFFSET[:ROW] of the dead letter that this was before.",
        },
    }
    return {
        "summary": "A dead letter: original value, key and headers, and why. Records without "
        "`aurora-reason` are marks of `aurora dlq redrive`: no value, and in the header "
        "`aurora-redriven` what was sent again.",
        "contentType": "application/octet-stream",
        "headers": {
            "type": "object",
            "properties": {**reasons, **may},
            "required": [
                name for name in reasons if name not in ("aurora-row", "aurora-timestamp")
            ],
        },
        "payload": {"description": "The bytes that were sent."},
    }


def documents() -> dict[str, str]:
    """Return the text of each document by its path under `docs/`."""
    return {
        "schemas/request.schema.json": json.dumps(request_schema(), indent=2) + "\n",
        "schemas/decision.schema.json": json.dumps(decision_schema(), indent=2) + "\n",
        "asyncapi.yaml": yaml.dump(asyncapi(), sort_keys=False, width=100, Dumper=_Plain),
    }


class _Plain(yaml.SafeDumper):
    """YAML without anchors: a reader should not have to look up `*id001`."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def main() -> None:
    """Write the documents."""
    for name, text in documents().items():
        path = DOCS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
