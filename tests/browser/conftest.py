"""A real hub and live process, and Debian's Chromium looking at them."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright
from pytest_django import DjangoDbBlocker

from tests.web.served import Served, served

# Playwright's synchronous API keeps a loop in this thread; Django would take our queries for
# asynchronous ones.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    *(["--no-sandbox"] if os.getuid() == 0 else []),
]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Run Chromium without a window.

    Playwright keeps an event loop in this thread; it has to be gone before other tests run theirs.
    """
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


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
