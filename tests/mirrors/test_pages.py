"""The mirrors' pages."""

from __future__ import annotations

from html import unescape

import pytest
from django.test import Client

from commonfarm.accounts.interface import Role, User
from commonfarm.mirrors import reconcile
from commonfarm.mirrors.models import Mirror
from tests.mirrors.conftest import DEB, NOW
from tests.mirrors.web import Web

pytestmark = pytest.mark.django_db


def signed_in(role: Role) -> Client:
    client = Client()
    client.force_login(User.add(f"a-{role}", role, who="test"))
    return client


def test_the_list_shows_what_was_seen(mirror: Mirror, web: Web) -> None:
    (web.folder / DEB).unlink()
    reconcile.scan(mirror.pk, lambda: NOW)
    page = signed_in(Role.READER).get("/mirrors/").content.decode()
    assert 'href="/mirrors/north"' in page
    assert "1 of 2" in page


def test_without_mirrors_the_list_says_how_to_add_one(db: None) -> None:
    page = unescape(signed_in(Role.READER).get("/mirrors/").content.decode())
    assert "commonfarm mirror add NAME" in page


def test_a_mirror_shows_what_is_missing_and_what_went_wrong(mirror: Mirror, web: Web) -> None:
    (web.folder / DEB).unlink()
    reconcile.scan(mirror.pk, lambda: NOW)
    client = signed_in(Role.READER)
    page = client.get("/mirrors/north").content.decode()
    assert f"<code>{DEB}</code>" in page
    assert "<button name=" not in page.split("<main")[-1].split("</main")[0]
    web.behaviour = "broken"
    reconcile.scan(mirror.pk, lambda: NOW)
    assert "it answers 500" in client.get("/mirrors/north").content.decode()


def test_a_coordinator_acts_on_the_page_and_a_reader_may_not(mirror: Mirror) -> None:
    reader, coordinator = signed_in(Role.READER), signed_in(Role.COORDINATOR)
    assert reader.post("/mirrors/north", {"action": "disable"}).status_code == 403
    assert Mirror.named("north").enabled
    assert coordinator.post("/mirrors/north", {"action": "disable"}).status_code == 302
    assert not Mirror.named("north").enabled
    assert "disabled" in coordinator.get("/mirrors/north").content.decode()
    coordinator.post("/mirrors/north", {"action": "enable"})
    assert Mirror.named("north").enabled


def test_strangers_sign_in_and_unknown_names_are_not_found(db: None) -> None:
    assert Client().get("/mirrors/").status_code == 302
    assert signed_in(Role.READER).get("/mirrors/none").status_code == 404
