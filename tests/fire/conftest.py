"""Connections that were given up on are collected with the test that cut them."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect what aiokafka leaves of connections that were cut while they were being made.

    Their `ResourceWarning` belongs to this test, which ignores it, and not to a later one.
    """
    yield
    gc.collect()
