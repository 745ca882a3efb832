"""The pages as a person meets them: signing in, keyboard, phone, dark mode, live log."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Literal

import pytest
from django.db import connection, transaction
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, expect

from commonfarm.accounts.interface import Role, SignInLink, User
from commonfarm.farm.models import Lease, LogPiece
from tests.web import world
from tests.web.served import Served

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]

PICTURES = os.environ.get("COMMONFARM_PICTURES")
PAGES = (
    *("/", "/builds/", "/builders/", "/trees/", "/repositories/", "/mirrors/", "/journal/"),
    "/account/",
    *("/estate/", "/estate/hosts/", "/estate/services/", "/estate/pledges/", "/estate/forecast/"),
    *("/estate/changes/", "/estate/wanted/", "/sponsors/"),
    *("/mirrors/downloads/", "/mirrors/releases/", "/mirrors/files/", "/mirrors/explain/"),
    *("/mirrors/public/", "/mirrors/register/"),
)
DESK, PHONE = (1280, 900), (390, 844)
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


class Errors(list[str]):
    """What the browser complained of: scripts that fail, loads that the policy refuses."""

    def listen(self, page: Page) -> None:
        page.on(
            "response",
            lambda answer: self.append(answer.url) if answer.status >= 400 else None,
        )
        page.on("pageerror", lambda error: self.append(str(error)))
        page.on(
            "console",
            lambda message: self.append(message.text) if message.type == "error" else None,
        )


def sign_in(context: BrowserContext, site: Served, role: Role = Role.ADMIN) -> Page:
    """Sign a new user in by a one-time link, as a person would."""
    user = User.objects.filter(username="anna").first() or User.add("anna", role, who="user:root")
    token = SignInLink.make(user, timezone.now(), who="user:root").reveal()
    page = context.new_page()
    page.goto(f"{site.hub}/sign-in/?token={token}")
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(f"{site.hub}/")
    return page


@pytest.fixture
def errors() -> Iterator[Errors]:
    found = Errors()
    yield found
    assert not found


def sideways(page: Page) -> int:
    """Return how many pixels the page is wider than the window."""
    return int(
        page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    )


def picture(page: Page, name: str) -> None:
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=False)


@pytest.mark.parametrize("rows", [0, 3, 300])
def test_every_page_is_whole(chromium: Browser, site: Served, errors: Errors, rows: int) -> None:
    """In each window and scheme: a page is loaded once, since only its style asks for these."""
    world.fill(rows)
    with chromium.new_context() as context:
        page = sign_in(context, site)
        errors.listen(page)
        for path in PAGES + world.addresses():
            answer = page.goto(site.hub + path)
            assert answer is not None and answer.status == 200, path
            assert page.get_by_role("main").count() == 1
            assert page.get_by_role("banner").count() == 1
            assert page.get_by_role("navigation", name="Main").count() == 1
            assert page.get_by_role("heading", level=1).count() == 1
            name = re.sub(r"[^a-z0-9]+", "-", path.strip("/")) or "overview"
            for (width, height), scheme in product((DESK, PHONE), SCHEMES):
                page.set_viewport_size({"width": width, "height": height})
                page.emulate_media(color_scheme=scheme)
                assert sideways(page) <= 0, (path, width, scheme)
                picture(page, f"{name}_{rows}_{width}_{scheme}")


def test_text_stands_out_from_its_ground(chromium: Browser, site: Served) -> None:
    world.fill(3)
    with chromium.new_context() as context:
        page = sign_in(context, site)
        for path in PAGES + world.addresses():
            page.goto(site.hub + path)
            for scheme in SCHEMES:
                page.emulate_media(color_scheme=scheme)
                assert page.evaluate(CONTRAST) == [], (path, scheme)


# WCAG 2.2, 1.4.3: contrast of at least 4.5 (3 for large text). Colours go through a canvas, so that
# every notation is read.
CONTRAST = """() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data; return [r, g, b, a / 255];
  };
  const light = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (element) => {
    let stack = [];
    for (let e = element; e; e = e.parentElement) {
      const colour = rgb(getComputedStyle(e).backgroundColor);
      stack.push(colour); if (colour[3] >= 0.99) break;
    }
    return stack.reverse().reduce((under, [r, g, b, a]) =>
      [r, g, b].map((c, i) => c * a + under[i] * (1 - a)), [255, 255, 255]);
  };
  const bad = [];
  for (const element of document.body.querySelectorAll('*')) {
    if (![...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(element), box = element.getBoundingClientRect();
    if (box.width < 2 || style.visibility === 'hidden') continue;
    if (element.closest('.unseen, .skip')) continue;
    const [a, b] = [light(rgb(style.color)), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.6 && style.fontWeight >= 700) ? 3 : 4.5;
    if (ratio < needed) bad.push(`${element.tagName}.${element.className} ${ratio.toFixed(2)}`);
  }
  return bad;
}"""


def test_the_keyboard_is_enough(chromium: Browser, site: Served) -> None:
    with chromium.new_context() as context:
        page = sign_in(context, site)
        page.goto(site.hub)
        page.keyboard.press("Tab")
        skip = page.get_by_role("link", name="Skip to content")
        expect(skip).to_be_focused()
        expect(skip).to_be_in_viewport()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "content"
        page.goto(site.hub)
        journal = page.get_by_role("link", name="Journal")
        for _ in range(15):
            page.keyboard.press("Tab")
            if journal.evaluate("link => link === document.activeElement"):
                break
        expect(journal).to_be_focused()
        width = journal.evaluate("link => parseFloat(getComputedStyle(link).outlineWidth)")
        assert width >= 2
        page.keyboard.press("Enter")
        page.wait_for_url("**/journal/")
        expect(page.get_by_role("link", name="Journal")).to_have_attribute("aria-current", "page")


def test_signing_out_and_in_by_password(chromium: Browser, site: Served) -> None:
    with chromium.new_context() as context:
        page = sign_in(context, site)
        user = User.objects.get(username="anna")
        user.set_password("correct horse battery")
        user.save()
        page.goto(f"{site.hub}/sign-in/")
        page.get_by_label("User name").fill("anna")
        page.get_by_label("Password").fill("correct horse battery")
        page.keyboard.press("Enter")
        page.wait_for_url(f"{site.hub}/")
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url("**/sign-in/")
        page.goto(f"{site.hub}/journal/")
        expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def add(lease: Lease, offset: int, data: bytes) -> int:
    with transaction.atomic():
        LogPiece.objects.create(lease=lease, offset=offset, data=data)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify('log', %s)", [str(lease.pk)])
    return offset + len(data)


def test_a_log_appears_while_it_is_written(chromium: Browser, site: Served, errors: Errors) -> None:
    lease = world.running_lease()
    end = add(lease, 0, b"dpkg-buildpackage: info: source package hello\n")
    with chromium.new_context() as context:
        page = sign_in(context, site)
        errors.listen(page)
        page.goto(f"{site.hub}/jobs/{lease.job_id}")
        log = page.get_by_role("log")
        expect(log).to_contain_text("source package hello")
        hostile = b"\x1b[31m<script>window.hit = 1</script>\x1b[0m <img src=x onerror=hit=1>\n"
        end = add(lease, end, hostile + "grüße ".encode()[:3])
        end = add(lease, end, "grüße ".encode()[3:] + b"to all\n")
        expect(log).to_contain_text("<script>window.hit = 1</script> <img src=x")
        expect(log).to_contain_text("grüße to all")
        assert page.evaluate("window.hit") is None
        assert log.evaluate("log => log.children.length") == 0

        end = add(lease, end, b"".join(b"line %d\n" % n for n in range(500)))
        expect(log).to_contain_text("line 499")
        at_end = "log => log.scrollHeight - log.scrollTop - log.clientHeight < 24"
        assert log.evaluate(at_end)
        follow = page.get_by_role("checkbox", name="Follow the end")
        log.evaluate("log => { log.scrollTop = 0; }")
        expect(follow).not_to_be_checked()
        end = add(lease, end, b"while the reader looks at the beginning\n")
        expect(log).to_contain_text("looks at the beginning")
        assert log.evaluate("log => log.scrollTop") == 0
        follow.check()
        assert log.evaluate(at_end)
        picture(page, "live-log")

        Lease.objects.filter(pk=lease.pk).update(ended_at=timezone.now(), outcome="succeeded")
        expect(page.get_by_text("Ended: succeeded")).to_be_visible()


def test_the_journal_goes_on_by_itself(chromium: Browser, site: Served, errors: Errors) -> None:
    with chromium.new_context() as context:
        page = sign_in(context, site)
        errors.listen(page)
        page.goto(f"{site.hub}/journal/")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        User.add("berta", Role.READER, who="user:<i>root</i>")
        first = page.get_by_role("row").nth(1)
        expect(first).to_contain_text("user:berta")
        expect(first).to_contain_text("user:<i>root</i>")
        first.get_by_role("link", name="user:berta").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("user:berta")
        expect(page.get_by_text("Live", exact=True)).to_be_visible()
        User.add("carla", Role.READER, who="user:root")
        SignInLink.make(User.objects.get(username="berta"), timezone.now(), who="user:root")
        expect(page.get_by_role("row").nth(1)).to_contain_text("sign-in link made")
        assert page.get_by_text("user:carla").count() == 0


def test_errors_are_pages_too(chromium: Browser, site: Served) -> None:
    with chromium.new_context() as context:
        page = sign_in(context, site, Role.READER)
        answer = page.goto(f"{site.hub}/nowhere")
        assert answer is not None and answer.status == 404
        expect(page.get_by_role("heading", name="Not Found")).to_be_visible()
        picture(page, "not-found")
        page.get_by_role("link", name="Back to the overview").click()
        page.wait_for_url(f"{site.hub}/")


def test_a_person_sets_a_password_and_keeps_tokens(
    chromium: Browser, site: Served, errors: Errors
) -> None:
    password = "correct horse battery"
    with chromium.new_context() as context:
        page = sign_in(context, site, Role.SUBMITTER)
        errors.listen(page)
        page.get_by_role("link", name="anna").click()
        expect(page.get_by_role("heading", name="Set a password")).to_be_visible()
        page.get_by_label("New password", exact=True).fill(password)
        page.get_by_label("New password confirmation").fill(password)
        page.get_by_role("button", name="Set password").click()
        expect(page.get_by_role("status")).to_contain_text("Your password is set")
        expect(page.get_by_label("Old password")).to_be_visible()

        page.get_by_label("What for").fill("laptop")
        page.get_by_role("button", name="Make a token").click()
        expect(page.get_by_role("status")).to_contain_text("cf_api")
        assert page.evaluate(CONTRAST) == []
        picture(page, "token-made")
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Revoke laptop").click()
        expect(page.get_by_text("You have no tokens.")).to_be_visible()

        page.get_by_role("button", name="Sign out").click()
        page.get_by_label("User name").fill("anna")
        page.get_by_label("Password").fill(password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{site.hub}/")
