"""A repository with an estate, and a clock that is moved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from commonfarm.estate.following import follow
from commonfarm.estate.models import Load
from tests.estate.following.helpers import ONE, Clock
from tests.estate.repositories import Repository


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def upstream(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "upstream")
    made.commit({"estate.yaml": ONE}, "Describe the anvil")
    return made


@pytest.fixture
def next_minute(clock: Clock) -> Callable[[], Load | None]:
    """Return what fetches a minute later, and returns the load that was made."""

    def look() -> Load | None:
        clock.later(minutes=1)
        return follow(clock)

    return look
