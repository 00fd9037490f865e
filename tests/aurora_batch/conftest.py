"""Fixtures of several tests of the package."""

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder named `config` in the working directory, so that messages are short."""
    monkeypatch.chdir(tmp_path)
    path = Path("config")
    path.mkdir()
    return path
