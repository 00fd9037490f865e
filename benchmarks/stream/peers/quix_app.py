"""A Quix Streams application that does the same job, exactly once.

    python -m benchmarks.stream.peers.quix_app SPEC.json

Runs in an environment of its own, where Aurora is not installed.
"""

import json
import sys
from pathlib import Path
from typing import Any

from quixstreams import Application

from benchmarks.stream.peers.greedy import Greedy

COMMIT_S = 0.1


def run(spec: dict[str, Any]) -> None:
    """Read, decide, send and commit until SIGTERM."""
    greedy = Greedy(spec["providers"], spec["router"])
    application = Application(
        broker_address=spec["bootstrap"], consumer_group=spec["group"],
        auto_offset_reset="earliest", processing_guarantee="exactly-once",
        commit_interval=COMMIT_S, auto_create_topics=False, loglevel="WARNING",
        producer_extra_config={"linger.ms": 5},
    )  # fmt: skip
    requests = application.topic(spec["requests"], value_deserializer="json")
    decisions = application.topic(spec["decisions"], value_serializer="json")
    frame = application.dataframe(requests).apply(greedy.decide)
    frame.to_topic(decisions)
    application.run()


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text()))
