"""Where the local builder keeps its state: where the ids that builds run as can pass."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from commonfarm.installation import launch, users
from commonfarm.lib.config import Config, Listen, default


@pytest.fixture
def home() -> Iterator[Path]:
    """A home like any, below folders that all may pass through."""
    with tempfile.TemporaryDirectory(prefix="cf-test-") as folder:
        yield Path(folder)


def of_a_user(home: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(users, "separate", lambda: False)
    ports = Listen("127.0.0.1", 1, 2, 3, 4)
    return default("one", home / "one.toml", home / "state", home / "run", ports)


def test_a_closed_home_does_not_hold_a_builder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = of_a_user(home, monkeypatch)
    home.chmod(0o700)
    zipapp, state = launch.agent_files(config)
    assert zipapp == home / "state/agent.pyz"
    assert state.parent == launch.SYSTEM_BUILDERS
    other = default("two", home / "two.toml", home / "other", home / "run2", config.listen)
    assert launch.agent_files(other)[1] != state


def test_an_open_home_holds_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home.chmod(0o755)
    assert launch.agent_files(of_a_user(home, monkeypatch))[1] == home / "state/agent"
