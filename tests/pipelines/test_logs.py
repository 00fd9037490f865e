"""Log lines for machines."""

import json
import logging
import sys

from pipelines.logs import JsonFormatter


def test_a_line_is_one_json_object() -> None:
    """Time, level, logger and message; the traceback of a bug in the same line."""
    try:
        raise ValueError("two\nlines")
    except ValueError:
        failure = sys.exc_info()
    record = logging.LogRecord("a.b", logging.ERROR, "f", 1, "said %d", (7,), failure)

    line = JsonFormatter().format(record)

    said = json.loads(line)
    assert "\n" not in line
    assert (said["level"], said["logger"], said["message"]) == ("error", "a.b", "said 7")
    assert said["time"].endswith("+00:00")
    assert "ValueError: two" in said["traceback"]
