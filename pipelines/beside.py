"""Threads for work beside the batches, which yields to them where the processor is busy."""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

# A thread of this niceness gets about a tenth of what a batch gets, where both want the same core.
NICE, NICEST = 10, 19


def beside(name: str) -> ThreadPoolExecutor:
    """Return a thread of lower priority than the process."""
    return ThreadPoolExecutor(1, thread_name_prefix=name, initializer=_step_back)


def _step_back() -> None:
    if sys.platform == "linux":  # elsewhere a thread has no priority of its own
        least = min(os.getpriority(os.PRIO_PROCESS, 0) + NICE, NICEST)
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), least)
