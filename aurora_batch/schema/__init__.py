"""Requests and decisions as Arrow columns and as payloads, JSON and Arrow IPC (spec, 3).

The way of a payload: `json_reading` (plain ones: `plain_json`) or `arrow_reading` makes columns of
it, `rules` brings them to canonical form and finds what is wrong, `decoding` puts the two together.
`fields` is the table of what each field may say; `aurora_batch.contracts` publishes the same table
as JSON Schema.
"""

from aurora_batch.schema.arrow_reading import ARROW_CONTENT_TYPE
from aurora_batch.schema.coded import Choices, Codes, Decisions, Lists, codes_of
from aurora_batch.schema.columns import (
    ALTERNATIVE_TYPE,
    DECISION_SCHEMA,
    REQUEST_SCHEMA,
    SCHEMA_VERSION,
    WEIGHTS_TYPE,
    Decoded,
    Rejection,
)
from aurora_batch.schema.dead_letters import (
    dead_letter_headers,
    dead_letter_value,
    microseconds,
    pack_dead_letter_headers,
    rfc3339,
)
from aurora_batch.schema.decoding import decode, decode_json, decode_table
from aurora_batch.schema.encoding import (
    encode_arrow,
    encode_arrow_each,
    encode_json,
    encode_requests_arrow,
    encode_requests_json,
)
from aurora_batch.schema.records import Message, Messages, Record, Records
from aurora_batch.schema.times import microseconds_of

__all__ = [
    "ALTERNATIVE_TYPE",
    "ARROW_CONTENT_TYPE",
    "DECISION_SCHEMA",
    "REQUEST_SCHEMA",
    "SCHEMA_VERSION",
    "WEIGHTS_TYPE",
    "Choices",
    "Codes",
    "Decisions",
    "Decoded",
    "Lists",
    "Message",
    "Messages",
    "Record",
    "Records",
    "Rejection",
    "codes_of",
    "dead_letter_headers",
    "dead_letter_value",
    "decode",
    "decode_json",
    "decode_table",
    "encode_arrow",
    "encode_arrow_each",
    "encode_json",
    "encode_requests_arrow",
    "encode_requests_json",
    "microseconds",
    "microseconds_of",
    "pack_dead_letter_headers",
    "rfc3339",
]
