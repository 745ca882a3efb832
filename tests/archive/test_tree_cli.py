"""`commonfarm tree` against a real hub, as a newcomer meets it: mistakes, kills, another hub."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connection
from typer.testing import CliRunner

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.archive import publishing
from commonfarm.archive.adoption import looking
from commonfarm.archive.models import Publication, Release
from commonfarm.archive.tree_cli import app
from commonfarm.estate.interface import ReleaseTree
from commonfarm.http.client import HubClient
from commonfarm.journal.models import Entry
from commonfarm.lib.config import Config
from commonfarm.lib.errors import (
    BadInputError,
    NotFoundError,
    Reason,
    RefusedError,
    UnreachableError,
)
from commonfarm.store.models import Upload
from tests.archive.releases import Releases

pytestmark = pytest.mark.django_db(transaction=True)


def run(*arguments: str, answer: str = "", code: int = 0) -> str:
    result = CliRunner().invoke(app, ["tree", *arguments], input=answer)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def hub(
    request: pytest.FixtureRequest,
    transactional_db: None,
    installation: Config,
    unsigned: None,
    published_calls: list[tuple[str, int]],
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Releases:
    # Django's test server serves static files by itself, and stumbles where a project has none.
    settings.STATIC_URL = "/unused/"
    server = request.getfixturevalue("live_server")
    monkeypatch.setenv("COMMONFARM_HUB", server.url)
    monkeypatch.setenv("COMMONFARM_TOKEN", token("anna"))
    return Releases(installation)


def token(name: str, role: Role = Role.COORDINATOR) -> str:
    return ApiToken.make(User.add(name, role, who="test"), "test", who="test").reveal()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good application tree."""
    made = tmp_path / "build"
    (made / "4").mkdir(parents=True)
    (made / "4/Turtle Art.xo").write_text("turtle")
    (made / "4/Write.xo").write_text("write")
    (made / "latest").symlink_to("4")
    for one in (made, made / "4"):
        one.chmod(0o755)
    return made


@pytest.fixture
def worker(hub: Releases) -> Iterator[None]:
    """Publish and look at folders in a thread, as the worker process does."""
    ends = threading.Event()

    def work() -> None:
        while not ends.wait(0.05):
            for tree in ReleaseTree.objects.all():
                if tree.adopts:
                    later = datetime.now(UTC) + timedelta(hours=1)
                    looking.look(tree, later, asked=True)
                else:
                    publishing.publish(tree)
        connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    yield
    ends.set()
    thread.join(20)


def test_from_a_folder_to_the_public_and_back(hub: Releases, worker: None, folder: Path) -> None:
    assert "sugar" in run("list")
    said = run("put", "sugar", str(folder), "--title", "Sugar 4", "--at", "activities")
    assert "sugar release 1 is unlisted: Sugar 4" in said
    assert "2 files, 11 B, 1 alias, put by user:anna" in said
    assert "look at it: http://" in said
    assert "next: a coordinator looks at it: commonfarm tree review sugar 1" in said
    shown = run("show", "sugar").splitlines()
    assert shown[0].startswith("release 1 (Sugar 4): a coordinator looks at it")
    assert shown[-1] == "  review: any; new files for 30 min 00 s only from ourselves"
    assert "  + activities/4/Turtle Art.xo" in run("diff", "sugar", "--release", "1")
    assert "publishes it: commonfarm tree publish sugar 1" in run("review", "sugar", "1")
    said = run("publish", "sugar", "1", "--wait")
    assert "sugar release 1 is public: Sugar 4" in said
    assert "/sugar/ with revision 1" in said
    shown = json.loads(run("show", "sugar", "--json"))
    assert (shown["revision"], shown["aliases"], shown["waiting"]) == (1, 1, 0)
    assert (hub.seen / "activities/latest/Write.xo").read_text() == "write"
    assert "release:sugar/1" in run("history", "sugar")
    assert "Take back 2 files of sugar release 1" in run(
        *("withdraw", "sugar", "1", "--why", "broken", "--at-once"), answer="n\n", code=1
    )
    said = run("withdraw", "sugar", "1", "--why", "broken", "--at-once", "--yes")
    assert "next: wait: revision 2 takes it back" in said
    wait_for(lambda: not (hub.seen / "activities").exists())
    assert "back" in run("rollback", "sugar", "1", "--why", "it was fine", answer="y\n")
    wait_for(lambda: (hub.seen / "activities/4/Write.xo").exists())
    again = run("put", "sugar", str(folder), "--at", "activities", "--json")
    assert json.loads(again)["files"] == 2


def wait_for(what: Any) -> None:
    deadline = time.monotonic() + 30
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_single_file_under_embargo(hub: Releases, worker: None, folder: Path) -> None:
    run("put", "sugar", str(folder / "4/Write.xo"), "--at", "/new/")
    run("review", "sugar", "1")
    later = (datetime.now(UTC) + timedelta(days=70)).date()
    said = run("publish", "sugar", "1", "--at", f"{later}T12:00", "--wait")
    assert "is embargoed" in said
    assert f"wait: it is public from {later} 12:00:00 UTC on" in said
    with pytest.raises(BadInputError, match="is no time"):
        run("publish", "sugar", "1", "--at", "tomorrow")
    asked = run("withdraw", "sugar", "1", "--why", "late", answer="n\n", code=1)
    assert "1 file of sugar release 1, which users have not seen yet?" in asked
    run("publish", "sugar", "1", "--wait")
    assert hub.listed() == ["new/Write.xo"]
    assert "+ new/Write.xo" in run("diff", "sugar")


def test_mistakes_come_with_what_to_do(
    hub: Releases, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFoundError, match="did you mean `sugar`"):
        run("put", "suger", str(folder))
    link = tmp_path / "htdocs"
    link.symlink_to(folder)
    with pytest.raises(BadInputError, match=f"name {folder} itself"):
        run("put", "sugar", str(link))
    with pytest.raises(BadInputError, match="does not exist"):
        run("put", "sugar", str(tmp_path / "nothing"))
    (tmp_path / "empty").mkdir(mode=0o755)
    with pytest.raises(BadInputError, match="is an empty folder"):
        run("put", "sugar", str(tmp_path / "empty"))
    (folder / "4/Write.xo").chmod(0o600)
    with pytest.raises(BadInputError, match=r"mode 0600 .*chmod o\+r"):
        run("put", "sugar", str(folder))
    (folder / "4/Write.xo").chmod(0o644)
    with pytest.raises(BadInputError, match="--at: has an empty part"):
        run("put", "sugar", str(folder), "--at", "../up")
    assert not Release.objects.exists()
    run("put", "sugar", str(folder), "--at", "/")
    run("review", "sugar", "1")
    with pytest.raises(RefusedError, match="has to be unlisted to review it"):
        run("review", "sugar", "1")
    with pytest.raises(NotFoundError, match="its newest is 1"):
        run("publish", "sugar", "7")
    with pytest.raises(BadInputError, match="without a word why"):
        run("review", "sugar", "1", "--reject")
    hub.published({"4/Write.xo": "other bytes"})
    with pytest.raises(BadInputError, match=r"4/Write\.xo: was published in revision 1"):
        run("publish", "sugar", "1")
    with pytest.raises(BadInputError, match=r"4/Write\.xo: was published in revision 1"):
        run("put", "sugar", str(folder))
    assert set(Release.objects.values_list("state", flat=True)) == {
        *("rejected", "reviewed", "public")
    }
    assert Release.objects.latest("pk").why == "put came to no end: 1 fault in what was put"
    told = json.dumps(list(Entry.objects.values("subject", "details", "why")))
    assert "Write.xo" not in told


def test_what_is_held_back_says_why(hub: Releases, worker: None, folder: Path) -> None:
    run("put", "sugar", str(folder))
    run("review", "sugar", "1")
    release = Release.objects.get()
    [blob] = release.files.filter(path="4/Write.xo").values_list("blob_id", flat=True)
    place = hub.config.store / "sha256" / blob[:2] / blob[2:]
    found = [one for one in hub.config.store.rglob("*") if one.name.endswith(blob[4:])]
    place = found[0]
    data = place.read_bytes()
    place.chmod(0o644)
    place.write_bytes(bytes(len(data)))
    said = run("publish", "sugar", "1", "--wait", code=1)
    assert "sugar release 1 is reviewed" in said
    assert "4/Write.xo" in said
    told = Entry.objects.filter(subject="release:sugar/1").values_list("why", "details")
    assert "Write.xo" not in json.dumps(list(told))


HEAVY = """
import sys
from commonfarm.archive.tree_cli import app
try:
    app(["tree", *sys.argv[1:]])
except SystemExit as end:
    assert not end.code
print("LOADED", sorted({"django", "numpy", "psycopg", "procrastinate"} & set(sys.modules)))
"""


@pytest.mark.parametrize(
    "arguments", [("put", "sugar", "FOLDER"), ("show", "sugar"), ("adopt", "--help")]
)
def test_the_verbs_load_no_django(hub: Releases, folder: Path, arguments: tuple[str, ...]) -> None:
    given = [str(folder) if one == "FOLDER" else one for one in arguments]
    done = subprocess.run(
        [sys.executable, "-c", HEAVY, *given], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "LOADED []"


# Cut off -----------------------------------------------------------------------------------------


def test_an_upload_that_fails_leaves_no_open_release(
    hub: Releases, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = HubClient.upload

    def fails(self: HubClient, file: Path, progress: Any) -> Any:
        if file.name == "Write.xo":
            raise UnreachableError(Reason("hub-unreachable", "the hub is away"))
        return real(self, file, progress)

    monkeypatch.setattr(HubClient, "upload", fails)
    with pytest.raises(UnreachableError, match="the hub is away"):
        run("put", "sugar", str(folder))
    release = Release.objects.get()
    assert (release.state, release.why) == (
        "rejected",
        "put came to no end: the hub is away",
    )
    monkeypatch.setattr(HubClient, "upload", real)
    run("put", "sugar", str(folder))
    assert Release.objects.get(number=2).state == "unlisted"


SLOW = """
import sys
from commonfarm.archive.tree_cli import app
from commonfarm.http.client import HubClient
real = HubClient.upload
def slow(self, file, progress):
    if file.name == "Write.xo":
        print("now", flush=True)
        sys.stdin.readline()
    return real(self, file, progress)
HubClient.upload = slow
app(["tree", "put", "sugar", sys.argv[1]])
"""


def cut_off(hub: Releases, folder: Path, how: signal.Signals) -> None:
    """Put a folder, and be killed while one file is there and one under way."""
    command = [sys.executable, "-c", SLOW, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as put:
        assert put.stdin is not None and put.stdout is not None
        assert put.stdout.readline() == b"now\n"
        wait_for(lambda: Upload.objects.exclude(finished_at=None).count() == 1)
        put.send_signal(how)
        put.stdin.close()  # what was under way may end now
        assert put.wait(30) != 0


def test_killed_in_the_middle_it_goes_on_with_what_was_uploaded(
    hub: Releases, folder: Path
) -> None:
    cut_off(hub, folder, signal.SIGKILL)
    assert Release.objects.get().state == "open"
    sent = Upload.objects.get().finished_at
    run("put", "sugar", str(folder))
    states = Release.objects.order_by("number").values_list("state", "why")
    assert list(states) == [("rejected", "its put was cut off, and begun again"), ("unlisted", "")]
    assert sent in Upload.objects.values_list("finished_at", flat=True)


def test_asked_to_end_it_leaves_nothing_open(hub: Releases, folder: Path) -> None:
    cut_off(hub, folder, signal.SIGTERM)
    release = Release.objects.get()
    assert (release.state, release.why) == ("rejected", "put came to no end: it was cut off")


# Promotion ---------------------------------------------------------------------------------------


def test_promotion_to_the_next_environment(hub: Releases, worker: None, folder: Path) -> None:
    ReleaseTree.objects.update(promotes_to="stable")
    stable = ReleaseTree.objects.create(name="stable", review="none")
    run("put", "sugar", str(folder), "--title", "Sugar 4")
    with pytest.raises(RefusedError, match="only what is public is promoted"):
        run("promote", "sugar", "1")
    run("review", "sugar", "1")
    run("publish", "sugar", "1", "--wait")
    run("promote", "sugar", "1")
    made = Release.objects.get(tree=stable)
    assert (made.origin, made.title, made.state) == ("release:sugar/1", "Sugar 4", "reviewed")
    run("publish", "stable", "1", "--wait")
    assert (hub.config.published / "stable/latest/Write.xo").read_text() == "write"
    assert "0 new, 0 changed, 0 gone" in run("diff", "stable", "--tree", "sugar")
    with pytest.raises(RefusedError, match="the tree stable has all that sugar has"):
        run("promote", "sugar")
    with pytest.raises(RefusedError, match="name a tree with --to"):
        run("promote", "stable", "1")


def test_promotion_to_another_installation(
    hub: Releases, worker: None, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = ReleaseTree.objects.create(name="outside")
    run("put", "sugar", str(folder), "--title", "Sugar 4")
    run("review", "sugar", "1")
    run("publish", "sugar", "1", "--wait")
    there = os.environ["COMMONFARM_HUB"]
    with pytest.raises(BadInputError, match="set it to an API token of the hub at"):
        run("promote", "sugar", "1", "--hub", there)
    # Another user of a hub that gives this one no bytes that it did not upload itself.
    monkeypatch.setenv("COMMONFARM_TO_TOKEN", token("zoe", Role.SUBMITTER))
    with pytest.raises(BadInputError, match="no release is named"):
        run("promote", "sugar", "--hub", there)
    with pytest.raises(BadInputError, match="https"):
        run("promote", "sugar", "1", "--hub", "http://192.0.2.1/")
    said = run("promote", "sugar", "1", "--to", "outside", "--hub", there)
    assert "outside release 1 is unlisted: Sugar 4" in said
    made = Release.objects.get(tree=other)
    assert (made.put_by, made.origin) == ("user:zoe", f"{there} sugar release 1")
    assert made.files.count() == 3
    assert Upload.objects.filter(owner="user:zoe").count() == 2


# Adoption ----------------------------------------------------------------------------------------


def test_adopting_a_folder(hub: Releases, folder: Path, tmp_path: Path, worker: None) -> None:
    with pytest.raises(RefusedError) as refused:
        run("adopt", str(folder))
    assert f"trees:\n  - name: build\n    adopts: {folder}\n" in str(refused.value)
    with pytest.raises(RefusedError, match="declare it in the estate with `adopts"):
        run("adopt", "sugar")
    with pytest.raises(NotFoundError, match="there is no release tree 'nothing'"):
        run("adopt", "nothing")
    with pytest.raises(NotFoundError, match="is no folder here"):
        run("adopt", str(tmp_path / "nothing"))
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(RefusedError, match=f"it is really {folder}"):
        run("adopt", str(tmp_path / "link"))
    ReleaseTree.objects.create(name="pub", adopts=str(folder))
    (folder / "out").symlink_to("/etc")
    said = run("adopt", str(folder))
    assert "out: is a link to /etc, which leaves the tree; put what it leads to" in said
    assert "pub: revision 1, 2 files, 11 B, 1 alias, at http://" in said
    assert run("show", "pub").startswith("out: is a link to /etc")
    for one in folder.rglob("*.xo"):
        one.unlink()
    said = run("adopt", "pub", code=1)
    assert "\nnot taken over: " in said
    assert "commonfarm tree adopt pub --yes" in said
    assert "pub: revision 1, 2 files" in said
    assert "pub: revision 2, 0 files, 0 B" in run("adopt", "pub", "--yes")
    assert Publication.objects.filter(tree__name="pub").count() == 2


def test_the_estate_stops_adopting_meanwhile(
    hub: Releases, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pub = ReleaseTree.objects.create(name="pub", adopts=str(folder))
    stop = SimpleNamespace(sleep=lambda _: ReleaseTree.objects.filter(pk=pub.pk).update(adopts=""))
    monkeypatch.setattr("commonfarm.archive.verbs.adopting.time", stop)
    with pytest.raises(RefusedError, match="stopped adopting a folder as pub"):
        run("adopt", "pub")
