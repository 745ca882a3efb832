"""The hub behind a reverse proxy that ends TLS: it knows how the outside calls it."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.accounts.models import FailedSignIn
from commonfarm.http.client import HubClient
from commonfarm.lib.config import Public
from tests.web.served import Served, served

pytestmark = pytest.mark.django_db(transaction=True)

PUBLIC = Public(
    hub="https://farm.example.org",
    live="https://live.example.org",
    scheduler="https://builders.example.org:8443",
    redirector="https://download.example.org",
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, "hub", public=PUBLIC) as site:
        yield site


def ask(
    site: Served,
    method: str,
    path: str,
    host: str,
    form: dict[str, str] | None = None,
    **headers: str,
) -> http.client.HTTPResponse:
    """Send a request as a proxy does that passes on the name it was called by."""
    connection = http.client.HTTPConnection(urlsplit(site.hub).netloc, timeout=20)
    told = {"Host": host, **headers}
    if form is not None:
        told["Content-Type"] = "application/x-www-form-urlencoded"
    connection.request(method, path, urlencode(form or {}), told)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_it_answers_to_its_names_and_to_no_other(site: Served) -> None:
    for host in ("farm.example.org", "farm.example.org:443", urlsplit(site.hub).netloc):
        assert ask(site, "GET", "/sign-in/", host).status == 200, host
    assert ask(site, "GET", "/sign-in/", "evil.example.org").status == 400


def test_a_person_signs_in_from_outside(site: Served) -> None:
    admin = User.add("chief", Role.ADMIN, who="user:root")
    token = ApiToken.make(admin, "test", who="user:root")
    link = HubClient(site.hub, token).post("/accounts/users/chief/sign-in-link")["url"]
    assert link.startswith("https://farm.example.org/sign-in/?token=cf_link_")

    page = ask(site, "GET", "/sign-in/", "farm.example.org")
    assert "connect-src 'self' https://live.example.org;" in str(
        page.headers["Content-Security-Policy"]
    )
    (cookie,) = page.headers.get_all("Set-Cookie") or []
    assert "; Secure" in cookie
    pair = cookie.partition(";")[0]
    secret = pair.partition("=")[2]
    form = {"token": link.partition("token=")[2], "csrfmiddlewaretoken": secret}

    def sign_in(origin: str) -> http.client.HTTPResponse:
        return ask(site, "POST", "/sign-in/", "farm.example.org", form, Cookie=pair, Origin=origin)

    assert sign_in("https://evil.example.org").status == 403
    welcome = sign_in("https://farm.example.org")
    assert welcome.status == 302
    session = next(one for one in welcome.headers.get_all("Set-Cookie") or [] if "csrf" not in one)
    assert "; Secure" in session and "; HttpOnly" in session
    mine = session.partition(";")[0]
    assert ask(site, "GET", "/", "farm.example.org", Cookie=mine).status == 200


def test_streams_are_opened_where_the_outside_finds_them(site: Served) -> None:
    reader = User.add("reader", Role.READER, who="user:root")
    hub = HubClient(site.hub, ApiToken.make(reader, "test", who="user:root"))
    assert hub.get("/live-token", stream="journal")["url"] == "https://live.example.org/journal"


@pytest.mark.parametrize(
    ("trusted", "counted"), [(("127.0.0.1",), "203.0.113.7"), ((), "127.0.0.1")]
)
def test_wrong_passwords_count_by_who_asks_as_a_trusted_proxy_tells(
    tmp_path: Path, trusted: tuple[str, ...], counted: str
) -> None:
    with served(tmp_path, "hub", public=replace(PUBLIC, trusted_proxies=trusted)) as site:
        host = "farm.example.org"
        page = ask(site, "GET", "/sign-in/", host)
        pair = str(page.headers["Set-Cookie"]).partition(";")[0]
        form = {
            "username": "chief",
            "password": "guessed",
            "csrfmiddlewaretoken": pair.partition("=")[2],
        }
        told = {"Cookie": pair, "Origin": f"https://{host}"}
        # What stands on the left the client wrote; the proxy adds whom it sees on the right.
        told["X-Forwarded-For"] = "198.51.100.1, 203.0.113.7"
        assert ask(site, "POST", "/sign-in/", host, form, **told).status == 403
    assert [one.address for one in FailedSignIn.objects.all()] == [counted]
