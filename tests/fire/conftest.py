"""A connection that is left open shows in the test that left it."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Collect what is left, so that its `ResourceWarning`, an error, is not a later test's."""
    yield
    gc.collect()
