"""Log lines: for people on a terminal, one JSON object each elsewhere.

Payloads are never logged, at any level; what a request said is in its dead letter or decision.
"""

import json
import logging
import sys
from datetime import UTC, datetime

_HUMAN = "%(asctime)s %(levelname)-7s %(message)s"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the traceback of a bug."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def configure(*, quiet: bool = False) -> None:
    """Log to stderr; `quiet` leaves warnings and errors."""
    handler = logging.StreamHandler(sys.stderr)
    human = sys.stderr.isatty()
    handler.setFormatter(logging.Formatter(_HUMAN, "%H:%M:%S") if human else JsonFormatter())
    logging.basicConfig(level=logging.WARNING if quiet else logging.INFO, handlers=[handler])
    silence_client()


def silence_client() -> None:
    """Keep the Kafka client from logging: what it fails at reaches us as an exception."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL + 1)
