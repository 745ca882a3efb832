"""A real hub and live process for Chromium to look at."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from tests.web.served import Served, served


@pytest.fixture(scope="session")
def site(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Served]:
    """Serve hub and live over the test's database for all tests of this folder."""
    folder: Path = tmp_path_factory.mktemp("site")
    with django_db_blocker.unblock(), served(folder, "hub", "live") as what:
        yield what
