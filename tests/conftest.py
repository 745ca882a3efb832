"""What tests share: a queue that others left empty, Debian's Chromium, and who runs which file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from django.contrib.auth.hashers import PBKDF2PasswordHasher
from django.db import connection
from django.db.backends.postgresql.operations import DatabaseOperations
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, expect, sync_playwright
from pytest_django import DjangoDbBlocker
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

# Playwright's synchronous API keeps a loop in this thread; Django would take our queries for
# asynchronous ones.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"

# A busy machine may take any time for an example, and that says nothing of what is tested.
settings.register_profile(
    "patient", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("patient")

# Passwords are hashed as always, in fewer rounds: half a second for each is for who guesses them.
PBKDF2PasswordHasher.iterations = 1000

OF_ONE_INSTALLATION = {
    f"tests/stories/test_{name}.py"
    for name in ("bad_input", "documents", "faults", "first", "hostile_builds", "pages")
}
CHROMIUM = shutil.which("chromium")
expect.set_options(timeout=20_000)  # milliseconds: what lives on a page goes through processes
FLAGS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    *(["--no-sandbox"] if os.getuid() == 0 else []),
]


class Distribution(LoadFileScheduling):  # type: ignore[misc]  # xdist has no types
    """Gives out whole files, and the stories of one installation together: it is started once."""

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return "stories of one installation" if file in OF_ONE_INSTALLATION else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Distribution:
    return Distribution(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the work, begin with what is long: none is alone at the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=_rank)


def _rank(item: pytest.Item) -> int:
    if item.nodeid.partition("::")[0] in OF_ONE_INSTALLATION:
        return 0
    marks = {mark.name for mark in item.iter_markers()}
    return 1 if "story" in marks else 2 if marks & {"root", "browser"} else 3


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Run Chromium without a window.

    Playwright's loop ends with each file: others run loops of their own, and asyncio refuses two.
    """
    if CHROMIUM is None:
        pytest.skip("chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def _deletions(
    operations: DatabaseOperations, _style: object, tables: list[str], **_options: object
) -> list[str]:
    """Say how tables are emptied after a test that commits: most of them are empty.

    To truncate them all takes five times as long. What Django makes of the models stays, and of
    the journal nothing can be deleted.
    """
    quoted = [operations.quote_name(name) for name in tables if name not in MADE_OF_MODELS]
    looks = (f"SELECT '{name}' WHERE EXISTS (SELECT FROM {name})" for name in quoted)
    with connection.cursor() as cursor:
        cursor.execute(" UNION ALL ".join(looks))
        full = [name for (name,) in cursor.fetchall()]
    return [f"{'TRUNCATE' if name == JOURNAL else 'DELETE FROM'} {name}" for name in full]


JOURNAL = '"journal_entry"'
MADE_OF_MODELS = ("django_content_type", "auth_permission")
DatabaseOperations.sql_flush = _deletions  # type: ignore[assignment]


@pytest.fixture(autouse=True)
def _no_job_is_left(
    request: pytest.FixtureRequest, django_db_blocker: DjangoDbBlocker
) -> Iterator[None]:
    """Empty the queue after a test that commits: Django does not know its tables."""
    yield
    marker = request.node.get_closest_marker("django_db")
    commits = marker is not None and marker.kwargs.get("transaction")
    if commits or "transactional_db" in request.fixturenames:
        with django_db_blocker.unblock(), connection.cursor() as cursor:
            cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE")
