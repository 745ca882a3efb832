"""The pages of release trees: what stands first, who sees what, and what a hostile person tries."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client

from commonfarm.accounts.interface import Role, User
from commonfarm.archive import browsing
from commonfarm.archive.adoption import looking
from commonfarm.archive.models import Release, TreeFile
from commonfarm.archive.releases import going_public, lifecycle
from commonfarm.estate.interface import ReleaseTree
from tests.archive.releases import NOW, Releases

HTML = "<script>alert(document.cookie)</script>"
NAME = '<img src=x onerror="alert(1)">.html'


class Browser:
    """Looks at pages as somebody, or as nobody."""

    def __init__(self, name: str = "", role: Role = Role.READER) -> None:
        self.client = Client()
        if name:
            self.client.force_login(User.add(name, role, who="test"))

    def see(self, path: str, status: int = 200) -> str:
        answer = self.client.get(path)
        assert answer.status_code == status, answer.content
        return unescape(answer.content.decode()).partition("<main")[2]

    def send(self, path: str, **fields: Any) -> str:
        answer = self.client.post(path, fields, follow=True)
        return unescape(answer.content.decode())


@pytest.fixture
def rita(db: None) -> Browser:
    return Browser("rita")


@pytest.fixture
def anna(db: None) -> Browser:
    return Browser("anna", Role.SUBMITTER)


@pytest.fixture
def bert(db: None) -> Browser:
    return Browser("bert", Role.COORDINATOR)


def closed(releases: Releases, files: dict[str, str]) -> tuple[Release, str]:
    """Return an unlisted release and the path of its secret address."""
    release = releases.opened(files)
    token = lifecycle.close(release, who="user:anna", now=NOW)
    return release, f"/unlisted/{token}/"


def test_without_anything_the_pages_say_how_to_begin(rita: Browser) -> None:
    assert "commonfarm estate load DIRECTORY" in rita.see("/trees/")
    ReleaseTree.objects.create(name="sugar")
    assert "commonfarm tree put TREE FOLDER" in rita.see("/trees/sugar")
    assert "Nothing is public in this tree yet." in rita.see("/trees/sugar/files")
    assert "there is no release tree 'nothere'" in rita.see("/trees/nothere", 404)
    assert Client().get("/trees/sugar").status_code == 302


def test_a_coordinator_takes_a_release_all_the_way(releases: Releases, bert: Browser) -> None:
    release, _ = closed(releases, {"4/Turtle.xo": "turtle"})
    page = bert.see("/trees/sugar")
    assert page.index("Waiting") < page.index("What users see")
    assert "commonfarm tree review sugar 1" in page
    address = f"/trees/sugar/releases/{release.number}"
    assert "1 new, 0 changed, 0 gone." in bert.see(address)
    assert "It may be published now." in bert.send(address, action="approve")
    assert "2026-01-31 12:00 UTC is past" in bert.send(
        address, action="publish", visible_from="2026-01-31T12:00"
    )
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(second=0, microsecond=0)
    assert "It is under embargo." in bert.send(
        address, action="publish", visible_from=f"{tomorrow:%Y-%m-%dT%H:%M}"
    )
    release.refresh_from_db()
    assert release.visible_from == tomorrow
    assert "It is being published." in bert.send(address, action="publish")
    releases.work()
    page = bert.see(address)
    assert "/sugar/" in page
    assert "public" in page
    assert "4/" in bert.see("/trees/sugar/files")
    assert "Turtle.xo" in bert.see("/trees/sugar/files?below=4")
    assert "the tree has no folder '5'" in bert.see("/trees/sugar/files?below=5", 404)
    assert "withdrawn without a word why" in bert.send(address, action="withdraw")
    bert.send(address, action="withdraw", why="broken", at_once="on")
    releases.work()
    assert "withdrawn" in bert.see(address)
    assert "nothing to do" in bert.send(address, action="dance")
    assert "is no time" in bert.send(address, action="publish", visible_from="soon")
    assert "over 731 days ahead" in bert.send(
        address, action="publish", visible_from="9000-01-01T00:00"
    )


def test_readers_see_that_something_waits_and_no_more(
    releases: Releases, rita: Browser, anna: Browser
) -> None:
    releases.published({"old": "old"})
    release, _ = closed(releases, {"secret-file": "x"})
    Release.objects.filter(pk=release.pk).update(title="secret title")
    page = rita.see("/trees/sugar")
    assert "1 release waits to become public." in page
    assert "secret" not in page + rita.see("/trees/") + rita.see("/trees/sugar/files")
    assert "secret" not in rita.see("/trees/sugar/releases/2", 403)
    assert rita.client.get("/trees/sugar/releases/2/file?path=secret-file").status_code == 403
    assert "secret-file" in anna.see("/trees/sugar/releases/2")
    public = rita.see("/trees/sugar/releases/1")
    assert "old" in public
    assert "?path=" not in public  # readers get it where everybody does
    assert rita.client.post("/trees/sugar/releases/1", {"action": "withdraw"}).status_code == 403
    assert anna.client.post("/trees/sugar/releases/2", {"action": "approve"}).status_code == 403
    assert "button" not in anna.see("/trees/sugar/releases/2").partition("<h2>Files")[0]


def test_who_put_it_is_told_that_another_has_to_look(releases: Releases) -> None:
    ReleaseTree.objects.update(review="other")
    release, _ = closed(releases, {"a": "a"})
    own = Browser("anna", Role.COORDINATOR)
    assert "looked at by somebody else" in own.see(f"/trees/sugar/releases/{release.number}")
    said = own.send(f"/trees/sugar/releases/{release.number}", action="approve")
    assert "ask somebody else to review it" in said


# The secret address ------------------------------------------------------------------------------


def test_whoever_has_the_link_sees_the_release_and_fetches_its_files(releases: Releases) -> None:
    _, address = closed(releases, {"4/Turtle.xo": "turtle"})
    nobody = Browser()
    assert "4/Turtle.xo" in nobody.see(address)
    answer = nobody.client.get(f"{address}file", {"path": "4/Turtle.xo"})
    assert answer.getvalue() == b"turtle"
    for one in (answer, nobody.client.get(address), nobody.client.get("/unlisted/wrong/")):
        assert one["Referrer-Policy"] == "no-referrer"
        assert one["X-Robots-Tag"] == "noindex"
        assert {"no-store", "private"} <= set(one["Cache-Control"].replace(" ", "").split(","))
    assert nobody.client.post(address).status_code in (403, 405)
    part = nobody.client.get(
        f"{address}file", {"path": "4/Turtle.xo"}, headers={"Range": "bytes=2-3"}
    )
    assert (part.status_code, part.getvalue()) == (206, b"rt")


def test_the_link_ends_with_the_secrecy_or_when_there_is_another(releases: Releases) -> None:
    release, address = closed(releases, {"a": "a"})
    token = lifecycle.new_link(release, who="user:anna")
    nobody = Browser()
    assert "leads to nothing" in nobody.see(address, 404)
    nobody.see(f"/unlisted/{token}/")
    lifecycle.review(release, ok=True, who="user:bert", now=NOW)
    nobody.see(f"/unlisted/{token}/")
    going_public.publish(release, NOW, who="user:bert", visible_from=NOW + timedelta(days=1))
    nobody.see(f"/unlisted/{token}/", 404)
    assert nobody.client.get(f"/unlisted/{token}/file?path=a").status_code == 404


def test_what_a_hostile_person_uploads_is_never_a_page_of_ours(
    releases: Releases, bert: Browser
) -> None:
    release, address = closed(releases, {NAME: HTML})
    signed_in = f"/trees/sugar/releases/{release.number}"
    for client, page in ((Client(), address), (bert.client, signed_in)):
        shown = client.get(page).content.decode()
        assert "<img src=x" not in shown
        assert quote(NAME, safe="") in shown
        answer = client.get(f"{page.rstrip('/')}/file", {"path": NAME})
        assert answer["Content-Type"] == "application/octet-stream"
        assert answer["Content-Disposition"].startswith("attachment;")
        assert answer["X-Content-Type-Options"] == "nosniff"
        assert answer["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert answer.getvalue().decode() == HTML
    assert Client().get(f"{address}file", {"path": "../../etc/passwd"}).status_code == 404
    assert Client().get(f"{address}file").status_code == 404
    assert Client().get(f"{address}file", {"path": "a\0b"}).status_code == 404


# Much of it --------------------------------------------------------------------------------------


def test_a_folder_with_very_many_entries_is_cut(
    releases: Releases, rita: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases.published({f"d/{number:03}/x": "x" for number in range(12)} | {"d/z": "z", "d0": "0"})
    monkeypatch.setattr(browsing, "MOST_ENTRIES", 10)
    page = rita.see("/trees/sugar/files?below=d")
    assert "3 more are not shown." in page
    assert "000/" in page
    assert "d0" not in page


def test_names_of_folders_are_data(releases: Releases, rita: Browser) -> None:
    releases.published({"100%/a?b=1&c#d/ü+x": "x"})
    page = rita.see("/trees/sugar/files")
    assert f"?below={quote('100%', safe='')}" in page
    inner = quote("100%/a?b=1&c#d", safe="")
    assert inner in rita.see(f"/trees/sugar/files?below={quote('100%', safe='')}")
    assert "ü+x" in rita.see(f"/trees/sugar/files?below={inner}")


def test_very_many_releases_are_cut(releases: Releases, anna: Browser) -> None:
    Release.objects.bulk_create(
        Release(tree=releases.tree, number=number, put_by="user:x", state="rejected")
        for number in range(1, 300)
    )
    page = anna.see("/trees/sugar")
    assert "/trees/sugar/releases/299" in page
    assert "/trees/sugar/releases/200" not in page


# Adopted trees -----------------------------------------------------------------------------------


def test_an_adopted_tree_shows_its_folder_and_what_is_wrong_there(
    releases: Releases, rita: Browser, anna: Browser, tmp_path: Path
) -> None:
    folder = tmp_path / "pub"
    folder.mkdir()
    (folder / "a").write_text("a")
    (folder / "etc").symlink_to("/etc")
    tree = ReleaseTree.objects.create(name="pub", adopts=str(folder))
    page = rita.see("/trees/pub")
    assert "not yet" in page
    assert "An adopted tree has no releases" in page
    later = datetime.now(UTC) + timedelta(hours=1)
    looking.look(tree, later, asked=True)
    assert "1 in all; submitters see which" in rita.see("/trees/pub")
    page = anna.see("/trees/pub")
    assert "is a link to /etc, which leaves the tree" in page
    assert "1 in all." in page
    assert str(folder) in page
    (folder / "a").unlink()
    looking.look(tree, later, asked=True)
    page = rita.see("/trees/pub")
    assert page.index("is a disk not mounted?") < page.index("What users see")
    assert "a disk not mounted" in rita.see("/trees/")
    assert TreeFile.objects.get().path == "a"
