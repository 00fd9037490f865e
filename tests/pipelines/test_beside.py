"""Work beside the batches has a thread that steps back for them."""

import os
import sys
import threading

import pytest

from pipelines.beside import NICE, NICEST, beside


@pytest.mark.skipif(sys.platform != "linux", reason="a thread has no priority of its own")
def test_only_that_thread_steps_back() -> None:
    """The process, and whoever starts the thread, keep their priority."""

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    own = niceness()
    with beside("test") as thread:
        assert thread.submit(niceness).result(10) == min(own + NICE, NICEST)
    assert niceness() == own
