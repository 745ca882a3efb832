"""A mirror's own page: who sees what of it, who may do what, and the form it is registered by."""

from __future__ import annotations

from html import unescape
from typing import Any

import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from commonfarm import __version__
from commonfarm.accounts.interface import Role
from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.units import parse_bytes
from commonfarm.mirrors.models import HostKey, Mirror
from commonfarm.mirrors.wording import exact
from tests.mirrors.registered import FILES, NOW, Browser, jobs, published, registered, scanned

pytestmark = pytest.mark.django_db
_, PAINT, ISO = FILES


@pytest.fixture
def demo(db: None) -> ReleaseTree:
    return published()


@pytest.fixture
def anna(db: None) -> Browser:
    return Browser("anna", Role.COORDINATOR)


@pytest.fixture
def ben(db: None) -> Browser:
    return Browser("ben")


def test_whoever_runs_it_sees_what_is_wrong(ben: Browser, demo: ReleaseTree) -> None:
    here = "its address 8.8.8.8 is in United States"
    where = {"http": "http://north.example.org/", "country_problem": here}
    mirror = registered(demo, "north", answers=4, **where)
    mirror.administrators.add(ben.user)
    scanned(mirror, 1, missing=[PAINT, ISO])
    mirror.probes.create(at=NOW, answers=4, problems={"http6": "no route <b>"})
    mirror.audits.create(at=NOW, pieces=8, ok=True)
    mirror.pushes.create(at=NOW, revision=1, ok=False, problem="it answers 500")
    page = ben.see("/mirrors/north")
    for text in ("It misses 2 files", PAINT, "https over IPv4", "no route", "1 of 3", "500", here):
        assert text in page, text
    assert "failed</span></td>" in page  # http, by neither family
    assert "cannot be asked from here" in page  # by https over IPv6, of which no probe tells
    assert "under embargo" not in page  # no rsync is offered here
    other = Browser("carl").see("/mirrors/north")
    for text in (PAINT, "no route", "Weight", here, "<button name="):
        assert text not in other, text
    assert "https://north.example.org/pub/" in other


def test_it_does_what_its_buttons_say(ben: Browser, anna: Browser, demo: ReleaseTree) -> None:
    registered(demo, "north").administrators.add(ben.user)
    carl = Browser("carl")
    assert carl.send("/mirrors/north", action="disable").status_code == 403
    assert Browser().send("/mirrors/north", action="disable").status_code == 401
    assert Mirror.named("north").enabled
    assert ben.send("/mirrors/north", action="disable").status_code == 302
    assert not Mirror.named("north").enabled
    assert "disabled" in ben.see("/mirrors/north")
    ben.send("/mirrors/north", action="enable")
    assert Mirror.named("north").enabled
    ben.send("/mirrors/north", action="scan")
    assert "mirrors.scan" in jobs()
    Mirror.objects.update(quarantine="x differs")
    assert ben.send("/mirrors/north", action="lift-quarantine", why="x").status_code == 403
    assert "Lift the quarantine" in anna.see("/mirrors/north")
    anna.send("/mirrors/north", action="lift-quarantine", why="disk replaced")
    assert Mirror.named("north").quarantine == ""
    assert ben.send("/mirrors/north", action="remove").headers["Location"] == "/mirrors/"
    ben.see("/mirrors/north", 404)


FORM = {
    "name": "north",
    "tree": "demo",
    "https": "https://north.example.org/pub",
    "country": "de",
    "budget_bytes": "500 GB",
    "prefixes": "192.0.2.0/24, 198.51.100.0/24",
    "only_countries": "de\nat",
}


def test_whoever_is_signed_in_registers_by_a_form(ben: Browser, demo: ReleaseTree) -> None:
    assert "Weight" not in ben.see("/mirrors/register/")
    logo = SimpleUploadedFile("x.png", b"\x89PNG\r\n\x1a\n" + bytes(20))
    assert ben.send("/mirrors/register/", **FORM, logo=logo).headers["Location"] == "/mirrors/north"
    made = Mirror.named("north")
    assert (made.budget_bytes, made.only_countries) == (500 * 10**9, ["AT", "DE"])
    assert made.logo is not None and len(made.prefixes) == 2
    page = ben.see("/mirrors/north")
    assert "Show that you run it" in page
    assert made.token in page
    assert "https://north.example.org/pub/commonfarm-mirror.txt" in page
    ben.send("/mirrors/north", action="prove")
    assert "mirrors.prove" in jobs()


def test_without_a_tree_nothing_can_be_registered(ben: Browser) -> None:
    page = ben.see("/mirrors/register/")
    assert "There is nothing to mirror yet" in page and "<form" not in page.partition("<h1")[2]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"country": "Germany"}, "at most 2 characters"),
        ({"country": "d1"}, "'d1' is no country"),
        ({"country": "UK"}, "did you mean GB?"),
        ({"https": ""}, "a mirror needs an address for its users"),
        ({"https": "https://10.0.0.1/"}, "10.0.0.1 is not a public address"),
        ({"name": "../x"}, "Use small letters, digits, dots and hyphens"),
        ({"tree": "none"}, "Select a valid choice"),
        ({"budget_bytes": "much"}, "'much' is not a size"),
        ({"prefixes": "0.0.0.0/0"}, "larger than a mirror may say"),
        ({"latitude": "1"}, "one coordinate is given without the other"),
        ({"logo": SimpleUploadedFile("x.png", b"GIF89a")}, "no picture that is shown"),
    ],
)
def test_what_is_wrong_stands_in_the_form(
    ben: Browser, demo: ReleaseTree, change: dict[str, Any], told: str
) -> None:
    answer = ben.send("/mirrors/register/", **(FORM | change))
    assert answer.status_code == 422
    assert told in unescape(answer.content.decode())
    assert Mirror.objects.count() == 0


def test_an_edit_keeps_what_it_does_not_touch(
    ben: Browser, anna: Browser, demo: ReleaseTree
) -> None:
    mirror = registered(demo, "north", budget_bytes=123_456_789, as_number=680, weight=70)
    mirror.administrators.add(ben.user)
    before = Mirror.objects.filter(pk=mirror.pk).values().get()

    def sent(browser: Browser, **change: str) -> Any:
        page = browser.client.get("/mirrors/north/edit")
        assert f"Commonfarm {__version__}<" in page.content.decode()
        form, version = page.context["form"], page.context["seen_version"]
        fields = {one.name: one.value() for one in form if one.value() is not None}
        return browser.send("/mirrors/north/edit", **(fields | {"version": version} | change))

    assert sent(ben).status_code == 302
    assert Mirror.objects.filter(pk=mirror.pk).values().get() == before
    assert sent(ben, country="at").status_code == 302
    assert (Mirror.named("north").country, Mirror.named("north").weight) == ("AT", 70)
    assert sent(anna, weight="150").status_code == 302
    assert Mirror.named("north").weight == 150
    stale = sent(anna, weight="10", version="of before")
    assert "somebody changed it meanwhile" in stale.content.decode()
    assert Browser("carl").client.get("/mirrors/north/edit").status_code == 403


@given(st.integers(1, 2**53))
@how(deadline=None)
def test_a_budget_is_shown_so_that_it_can_be_read_again(size: int) -> None:
    assert parse_bytes(exact(size)) == size


def test_who_is_told_by_ssh_sees_which_key_to_let_in(
    ben: Browser, anna: Browser, demo: ReleaseTree
) -> None:
    folder = settings.COMMONFARM.operator
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "push-key.pub").write_text("ssh-ed25519 AAAA commonfarm push\n")
    mirror = registered(demo, "north", push="ssh", push_to="ssh://m@north.example.org")
    mirror.administrators.add(ben.user)
    page = ben.see("/mirrors/north")
    assert 'command="/usr/local/bin/pull-first",restrict ssh-ed25519 AAAA' in page
    assert "asked for at the next release" in page
    HostKey.of(mirror).was_offered("ssh-ed25519 BBBB", "SHA256:abc")
    assert "It shows <code>SHA256:abc</code>" in ben.see("/mirrors/north")
    told = {"action": "trust-host-key", "fingerprint": "SHA256:abc"}
    assert ben.send("/mirrors/north", **told).status_code == 403
    wrong = anna.send("/mirrors/north", **(told | {"fingerprint": "SHA256:xyz"}))
    assert wrong.status_code == 409
    assert "has not shown the key SHA256:xyz" in wrong.content.decode()
    assert "<label>Fingerprint" in wrong.content.decode()
    assert anna.send("/mirrors/north", **told).status_code == 302
    assert HostKey.of(mirror).trusted == "ssh-ed25519 BBBB"
    assert "is trusted" in ben.see("/mirrors/north")
