"""What a person sees after the first story: every page of the real installation.

`COMMONFARM_README_PICTURE=docs/picture.png pytest tests/stories -k pages` keeps the picture of the
README, and beside it in `COMMONFARM_PICTURES` those of all pages.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from examples.first.installation import Installation
from examples.first.story import Story
from playwright.sync_api import Browser, Page, expect

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.story, pytest.mark.browser]

PICTURES = os.environ.get("COMMONFARM_PICTURES")
README_PICTURE = os.environ.get("COMMONFARM_README_PICTURE")
WINDOW = (1280, 900)


def tell(installation: Installation, home: Path) -> None:
    """Build and mirror one package, unless another story of this run did."""
    if installation.json("builds") and installation.json("mirror", "list"):
        return
    story = Story(installation, home)
    try:
        story.submit(print)
        story.wait_for_build(print)
        story.wait_for_publication(print)
        story.fill_mirrors(print)
    finally:
        for mirror in story.mirrors:
            mirror.stop()


def addresses(installation: Installation) -> list[str]:
    """Return the address of one page of each kind."""
    build = installation.json("builds")[0]
    job = installation.json("build", "show", str(build["id"]))["jobs"][-1]
    mirror = installation.json("mirror", "list")[0]
    lists = ["/", "/builds/", "/builders/", "/repositories/", "/mirrors/", "/journal/", "/account/"]
    estate = (
        "",
        "hosts/",
        "hosts/local",
        "services/",
        "pledges/",
        "forecast/",
        "wanted/",
        "changes/",
    )
    return [
        *lists,
        *(f"/estate/{page}" for page in estate),
        "/estate/changes/",
        "/sponsors/",
        f"/builds/{build['id']}",
        f"/jobs/{job['id']}",
        "/builders/local",
        "/repositories/demo",
        f"/mirrors/{mirror['name']}",
    ]


def picture(page: Page, path: str) -> None:
    name = re.sub(r"[^a-z0-9]+", "-", path.strip("/")) or "overview"
    if PICTURES:
        page.screenshot(path=Path(PICTURES) / f"{name}.png", full_page=True)
    if README_PICTURE and path.startswith("/jobs/"):
        page.screenshot(path=README_PICTURE)


def test_every_page_shows_what_was_done(
    chromium: Browser, installation: Installation, home: Path
) -> None:
    tell(installation, home)
    web = installation.status_or_fail()["web"]
    link = installation.json("user", "sign-in-link", "admin")["url"]
    complaints: list[str] = []
    size = {"width": WINDOW[0], "height": WINDOW[1]}
    with chromium.new_context(viewport=size) as context:  # type: ignore[arg-type]
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda said: complaints.append(said.text) if said.type == "error" else None,
        )
        page.goto(link)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{web}/")
        for path in addresses(installation):
            answer = page.goto(web + path)
            assert answer is not None and answer.status == 200, path
            expect(page.get_by_role("heading", level=1)).to_have_count(1)
            if path.startswith("/jobs/"):
                expect(page.get_by_text("succeeded").first).to_be_visible()
                expect(page.get_by_role("log")).to_contain_text("dpkg-buildpackage")
            picture(page, path)
    assert not complaints
