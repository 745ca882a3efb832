"""The hub while PostgreSQL is away: it says so, on pages, by the API and to the command line."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import DataError, OperationalError, connection
from django.test import Client, RequestFactory

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.web import views
from tests.web.served import Served, end_sessions, served

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def sockets(tmp_path: Path) -> Path:
    """A way to PostgreSQL's sockets that a test can close."""
    (tmp_path / "sockets").symlink_to(settings.COMMONFARM.database.host)
    return tmp_path / "sockets"


@pytest.fixture
def site(tmp_path: Path, sockets: Path) -> Iterator[Served]:
    with served(tmp_path, "hub", database_host=str(sockets)) as site:
        yield site


def ask(site: Served, path: str, **headers: str) -> tuple[http.client.HTTPResponse, str]:
    client = http.client.HTTPConnection(urlsplit(site.hub).netloc, timeout=20)
    client.request("GET", path, headers=headers)
    answer = client.getresponse()
    text = answer.read().decode()
    client.close()
    return answer, text


def test_without_a_database_everything_says_so_and_goes_on_when_it_is_back(
    site: Served, sockets: Path
) -> None:
    anna = User.add("anna", Role.ADMIN, who="user:root")
    token = ApiToken.make(anna, "test", who="user:root").reveal()
    bearer = {"Authorization": f"Bearer {token}"}
    browser = Client()
    browser.force_login(anna)
    name = settings.SESSION_COOKIE_NAME
    cookie = {"Cookie": f"{name}={browser.cookies[name].value}"}
    assert ask(site, "/builds/", **cookie)[0].status == 200

    sockets.unlink()
    end_sessions("datname = current_database()")
    for _ in range(3):
        answer, text = ask(site, "/builds/", **cookie)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert views.DATABASE_AWAY.text in text
        assert "commonfarm status" in text
        for headers in (bearer, cookie):
            answer, text = ask(site, "/api/v1/farm/builds", **headers)
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert '"urn:commonfarm:problem:database-away"' in text
    done = subprocess.run(
        [sys.executable, "-m", "commonfarm.cli.main", "builds"],
        env={**os.environ, "COMMONFARM_HUB": site.hub, "COMMONFARM_TOKEN": token},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 3, done.stderr
    assert "the database does not answer" in done.stderr
    assert "commonfarm status" in done.stderr

    sockets.symlink_to(settings.COMMONFARM.database.host)
    assert ask(site, "/builds/", **cookie)[0].status == 200
    assert ask(site, "/api/v1/farm/builds", **bearer)[0].status == 200


@pytest.mark.parametrize(
    ("statement", "raised"),
    [
        ("SELECT 1/0", DataError),
        ("SET LOCAL statement_timeout = '1ms'; SELECT pg_sleep(9)", OperationalError),
    ],
)
def test_a_database_that_answers_is_not_away(statement: str, raised: type[Exception]) -> None:
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
    except raised:
        answer = views.broken(RequestFactory().get("/api/v1/farm/builds"))
    assert answer.status_code == 500
