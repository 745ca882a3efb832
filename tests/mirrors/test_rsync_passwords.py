"""How a mirror gets the password by which it reads what is under embargo: API, command, page."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from pytest_django.fixtures import Settings
from typer.testing import CliRunner

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.archive.interface import embargoed_module
from commonfarm.estate.interface import ReleaseTree
from commonfarm.journal.models import Entry
from commonfarm.lib.config import Public
from commonfarm.mirrors.cli import app
from commonfarm.mirrors.models import Mirror, RsyncPassword
from commonfarm.mirrors.rsync_users import rsync_users
from tests.mirrors.registered import Caller, jobs, published, registered

PATH = "/north/rsync-password"
TASK = "archive.write_rsync_modules"


@pytest.fixture
def rsync(settings: Settings) -> Callable[..., None]:
    """Offer rsync at a port; 0: not at all."""
    before = settings.COMMONFARM

    def offer(port: int, redirector: str = "") -> None:
        listen = replace(before.listen, address="127.0.0.1", rsync=port)
        settings.COMMONFARM = replace(before, listen=listen, public=Public(redirector=redirector))

    offer(8730)
    return offer


@pytest.fixture
def tree(db: None) -> ReleaseTree:
    return published()


@pytest.fixture
def north(tree: ReleaseTree, rsync: Callable[..., None]) -> Mirror:
    return registered(tree, "north")


def test_who_runs_a_mirror_gets_its_password_once(north: Mirror) -> None:
    ben = Caller("ben")
    north.administrators.add(ben.user)
    answer = ben("POST", PATH)
    assert answer.status_code == 201
    assert answer["Cache-Control"] == "no-store"
    told = answer.json()
    assert told["user"] == "north"
    assert told["module"] == "demo-embargoed" == embargoed_module(north.tree)
    assert told["url"] == "rsync://north@127.0.0.1:8730/demo-embargoed/"
    assert rsync_users()["demo"]["north"].reveal() == told["password"]
    assert TASK in jobs()
    assert told["password"] not in ben("GET", "/north").content.decode()


def test_a_new_one_voids_the_one_before_and_the_journal_has_neither(north: Mirror) -> None:
    anna = Caller("anna", Role.COORDINATOR)
    key = {"Idempotency-Key": "same"}
    first, second = (anna("POST", PATH, **key).json()["password"] for _ in range(2))
    assert first != second
    assert rsync_users()["demo"]["north"].reveal() == second
    assert RsyncPassword.objects.count() == 1
    said = json.dumps(list(Entry.objects.values_list("details", flat=True)))
    assert Entry.objects.filter(what="mirror rsync password made").count() == 2
    assert first not in said and second not in said


def test_strangers_get_none(north: Mirror) -> None:
    assert Caller("eve")("POST", PATH).status_code == 403
    assert Client().post(f"/api/v1/mirrors{PATH}").status_code == 401
    assert not RsyncPassword.objects.exists()


def test_one_that_nobody_has_shown_to_run_gets_none(
    tree: ReleaseTree, rsync: Callable[..., None]
) -> None:
    registered(tree, "north", proved_at=None)
    answer = Caller("anna", Role.COORDINATOR)("POST", PATH)
    assert answer.status_code == 409
    assert "nobody has shown" in answer.json()["detail"]


def test_one_in_quarantine_gets_none_that_would_be_good_for_nothing(north: Mirror) -> None:
    north.quarantine_for("it served other bytes", timezone.now(), who="test")
    answer = Caller("anna", Role.COORDINATOR)("POST", PATH)
    assert (answer.status_code, RsyncPassword.objects.count()) == (409, 0)
    assert "is in quarantine" in answer.json()["detail"]


def test_where_no_rsync_is_offered_it_says_so(north: Mirror, rsync: Callable[..., None]) -> None:
    rsync(0)
    answer = Caller("anna", Role.COORDINATOR)("POST", PATH)
    assert answer.status_code == 409
    assert "offers no rsync" in answer.json()["detail"]
    assert not RsyncPassword.objects.exists()


@pytest.mark.parametrize(
    ("public", "url"),
    [
        ("https://download.example.org", "rsync://north@download.example.org:8730/demo-embargoed/"),
        ("https://[2001:db8::1]:8443", "rsync://north@[2001:db8::1]:8730/demo-embargoed/"),
    ],
)
def test_mirrors_elsewhere_are_told_the_public_name(
    north: Mirror, rsync: Callable[..., None], public: str, url: str
) -> None:
    rsync(8730, redirector=public)
    assert Caller("anna", Role.COORDINATOR)("POST", PATH).json()["url"] == url


def test_the_page_shows_it_in_that_answer_alone(north: Mirror) -> None:
    browser, ben = Client(), User.add("ben", Role.READER, who="test")
    north.administrators.add(ben)
    browser.force_login(ben)
    page = "/mirrors/north"
    assert "It has none yet" in browser.get(page).content.decode()
    answer = browser.post(page, {"action": "rsync-password"})
    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    password = RsyncPassword.objects.get().password
    said = unescape(answer.content.decode())
    assert password in said
    assert "rsync://north@127.0.0.1:8730/demo-embargoed/" in said
    after = browser.get(page).content.decode()
    assert password not in after
    assert "Make a new password" in after
    assert password not in str(browser.cookies)


def test_on_the_page_strangers_get_none(north: Mirror) -> None:
    browser = Client()
    browser.force_login(User.add("eve", Role.READER, who="test"))
    assert browser.post("/mirrors/north", {"action": "rsync-password"}).status_code == 403
    assert "Make a password" not in browser.get("/mirrors/north").content.decode()
    assert not RsyncPassword.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_command_prints_it(
    rsync: Callable[..., None],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    settings.STATIC_URL = "/unused/"
    live_server = request.getfixturevalue("live_server")
    registered(published(), "north")
    user = User.add("anna", Role.ADMIN, who="test")
    monkeypatch.setenv("COMMONFARM_HUB", live_server.url)
    monkeypatch.setenv("COMMONFARM_TOKEN", ApiToken.make(user, "test", who="test").reveal())
    told = CliRunner().invoke(app, ["mirror", "rsync-password", "north", "--json"])
    assert told.exit_code == 0, told.output
    assert set(json.loads(told.output)) == {"user", "password", "module", "url"}
    said = CliRunner().invoke(app, ["mirror", "rsync-password", "north"])
    first, second, _ = said.output.splitlines()
    assert first == RsyncPassword.objects.get().password
    assert second.endswith("rsync://north@127.0.0.1:8730/demo-embargoed/")
