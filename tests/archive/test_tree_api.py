"""The API of release trees: who may do and see what, and what is refused."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.archive.adoption import looking
from commonfarm.archive.models import Publication, Release
from commonfarm.archive.releases import going_public, idle, lifecycle
from commonfarm.estate.interface import ReleaseTree
from commonfarm.http.models import IdempotentAnswer
from commonfarm.journal.models import Entry
from commonfarm.store.interface import add_chunk, put_all, start_upload
from tests.archive.releases import NOW, Releases

HOSTILE = "activities/<script>alert(1)</script> ünd.html"


class Caller:
    """Calls the API of trees as a user of some role."""

    def __init__(self, name: str, role: Role) -> None:
        self.user = User.add(name, role, who="test")
        self.token = ApiToken.make(self.user, "test", who="test").reveal()

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return Client().generic(
            method,
            f"/api/v1/archive/trees{path}",
            data=b"" if body is None else json.dumps(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {self.token}", **headers},
        )

    def get(self, path: str, status: int = 200) -> Any:
        return _json(self("GET", path), status)

    def post(self, path: str, body: Any = None, status: int = 200) -> Any:
        return _json(self("POST", path, body), status)

    def upload(self, data: bytes) -> str:
        [blob] = put_all([data])  # for its SHA-256
        start_upload(self.user.label, blob.sha256, len(data))
        add_chunk(self.user.label, blob.sha256, 0, data)
        return blob.sha256


def _json(answer: Any, status: int) -> Any:
    assert answer.status_code == status, answer.content
    return answer.json()


def code(answer: Any) -> str:
    return str(answer["type"]).rpartition(":")[2]


@pytest.fixture
def anna(db: None) -> Caller:
    return Caller("anna", Role.SUBMITTER)


@pytest.fixture
def bert(db: None) -> Caller:
    return Caller("bert", Role.COORDINATOR)


@pytest.fixture
def rita(db: None) -> Caller:
    return Caller("rita", Role.READER)


def put(who: Caller, files: dict[str, str], aliases: dict[str, str] | None = None) -> int:
    """Put a release by the API alone; return its number."""
    number = who.post("/sugar/releases", {"title": "Sugar 0.120"}, 201)["number"]
    rows = [{"path": path, "sha256": who.upload(text.encode())} for path, text in files.items()]
    links = [{"path": path, "target": text} for path, text in (aliases or {}).items()]
    who.post(f"/sugar/releases/{number}/content", {"files": rows, "aliases": links})
    who.post(f"/sugar/releases/{number}/close")
    return int(number)


def test_a_release_goes_all_the_way(releases: Releases, anna: Caller, bert: Caller) -> None:
    [shown] = anna.get("")
    assert (shown["name"], shown["revision"], shown["files"], shown["waiting"]) == (
        "sugar",
        0,
        0,
        0,
    )
    number = anna.post("/sugar/releases", {"title": "t", "origin": "here"}, 201)["number"]
    sha256 = anna.upload(b"turtle")
    content = {
        "files": [{"path": "4/Turtle.xo", "sha256": sha256}],
        "aliases": [{"path": "latest", "target": "4"}],
    }
    assert anna.post(f"/sugar/releases/{number}/content", content) == {"files": 1, "aliases": 1}
    assert anna.post(f"/sugar/releases/{number}/content", content) == {"files": 0, "aliases": 0}
    closed = anna.post(f"/sugar/releases/{number}/close")
    assert (closed["state"], closed["files"], closed["size"]) == ("unlisted", 1, 6)
    assert "/unlisted/cf_release" in closed["link"]
    assert closed["next"].endswith(f"commonfarm tree review sugar {number}")
    listed = anna.get(f"/sugar/releases/{number}/files")["items"]
    assert [(row["path"], row["size"], row["target"]) for row in listed] == [
        ("latest", 0, "4"),
        ("4/Turtle.xo", 6, ""),
    ]
    assert bert.get(f"/sugar/diff?release={number}")["new_paths"] == ["4/Turtle.xo"]
    assert bert.post(f"/sugar/releases/{number}/review", {"ok": True})["state"] == "reviewed"
    asked = bert.post(f"/sugar/releases/{number}/publish", {})
    assert (asked["state"], asked["revision"]) == ("reviewed", 1)
    releases.work()
    public = anna.get(f"/sugar/releases/{number}")
    assert (public["state"], public["revision"], public["next"]) == ("public", 1, "")
    assert public["address"].endswith("/sugar/")
    files = anna.get("/sugar/files?prefix=4/")["items"]
    assert [(row["path"], row["sha256"]) for row in files] == [("4/Turtle.xo", sha256)]
    assert anna.get("/sugar")["aliases"] == 1
    bert.post(f"/sugar/releases/{number}/withdraw", {"why": "broken", "at_once": True})
    releases.work()
    assert anna.get(f"/sugar/releases/{number}")["state"] == "withdrawn"
    assert anna.get("/sugar/diff")["gone_paths"] == ["4/Turtle.xo"]
    assert anna.get("/sugar/files?revision=1&prefix=4/")["items"]
    back = bert.post("/sugar/rollback", {"revision": 1, "why": "it was fine"})
    assert (back["revision"], back["state"]) == (3, "pending")
    who = Entry.objects.filter(what="release reviewed").get()
    assert (who.who, who.subject) == ("user:bert", f"release:sugar/{number}")


def test_who_may_what(releases: Releases, anna: Caller, bert: Caller, rita: Caller) -> None:
    number = put(anna, {"a": "a"})
    release = f"/sugar/releases/{number}"
    coordinators = [
        ("/review", {"ok": True}),
        ("/publish", {}),
        ("/withdraw", {"why": "x"}),
    ]
    for path, body in coordinators:
        assert anna("POST", release + path, body).status_code == 403, path
    assert anna("POST", "/sugar/rollback", {"revision": 1, "why": "x"}).status_code == 403
    submitters: list[tuple[str, Any]] = [
        ("/sugar/releases", {}),
        ("/sugar/promote", {}),
        ("/sugar/adopt", {}),
        (f"{release}/content", {}),
        (f"{release}/close", None),
        (f"{release}/link", None),
        (f"{release}/give-up", {"why": "x"}),
    ]
    for path, body in submitters:
        assert rita("POST", path, body).status_code == 403, path
    assert rita("GET", f"{release}/file?path=a").status_code == 403
    assert Client().get("/api/v1/archive/trees").status_code == 401
    assert Client().get(f"/api/v1/archive/trees{release}").status_code == 401


@pytest.mark.parametrize(
    "state", ["open", "unlisted", "reviewed", "embargoed", "rejected", "taken"]
)
def test_readers_see_that_something_waits_and_no_more(
    releases: Releases, anna: Caller, rita: Caller, state: str
) -> None:
    public = releases.published({"old": "old"})
    release = releases.opened({"secret-name": "x"}) if state == "open" else None
    release = release or releases.reviewed({"secret-name": "x"})
    match state:
        case "unlisted":
            Release.objects.filter(pk=release.pk).update(state="unlisted")
        case "embargoed" | "taken":
            until = NOW + timedelta(days=9)
            going_public.publish(release, NOW, who="user:b", visible_from=until)
            if state == "taken":
                going_public.withdraw(release, who="user:b", why="a secret word")
        case "rejected":
            lifecycle.reject(release, who="user:b", now=NOW, why="a secret word")
    Release.objects.filter(pk=release.pk).update(title="a secret word")
    told = rita.get("/sugar/releases")
    assert [row["number"] for row in told["items"]] == [public.number]
    assert rita.get("/sugar")["waiting"] == (0 if state in ("rejected", "taken") else 1)
    for path in (f"/sugar/releases/{release.number}", f"/sugar/releases/{release.number}/files"):
        assert code(rita.get(path, 403)) == "not-public"
        anna.get(path)
    assert code(rita.get(f"/sugar/diff?release={release.number}", 403)) == "not-public"
    everything = json.dumps([told, rita.get(""), rita.get("/sugar"), rita.get("/sugar/files")])
    assert "secret" not in everything
    assert len(anna.get("/sugar/releases")["items"]) == 2


def test_a_revision_on_its_way_is_nobodys_yet(releases: Releases, rita: Caller) -> None:
    releases.published({"old": "old"})
    release = releases.reviewed({"new": "new"})
    publication = going_public.publish(release, NOW, who="user:b")
    assert publication is not None
    Publication.objects.filter(pk=publication.pk).update(state="assembled")
    assert code(rita.get("/sugar/files?revision=2", 404)) == "no-such-revision"
    assert code(rita.get("/sugar/diff?old=1&new=2", 404)) == "no-such-revision"
    assert rita.get("/sugar/diff?old=0&new=1")["new"] > 0


def test_nobody_adds_to_anothers_release(releases: Releases, anna: Caller, bert: Caller) -> None:
    number = anna.post("/sugar/releases", {}, 201)["number"]
    body = {"files": [{"path": "a", "sha256": bert.upload(b"slipped in")}]}
    for path, sent in (("content", body), ("close", None), ("give-up", {"why": "x"})):
        refused = bert.post(f"/sugar/releases/{number}/{path}", sent, 403)
        assert code(refused) == "not-yours"
    # What somebody else uploaded is as good as not there.
    refused = anna.post(f"/sugar/releases/{number}/content", body, 422)
    assert refused["problems"][0]["what"] == "was not uploaded in full"


def test_what_one_began_oneself_can_be_given_up(releases: Releases, anna: Caller) -> None:
    number = anna.post("/sugar/releases", {}, 201)["number"]
    shown = anna.post(f"/sugar/releases/{number}/give-up", {"why": "cut off"})
    assert (shown["state"], shown["why"]) == ("rejected", "cut off")
    assert anna("POST", f"/sugar/releases/{number}/give-up", {"why": "x"}).status_code == 409
    closed = put(anna, {"a": "a"})
    assert anna("POST", f"/sugar/releases/{closed}/give-up", {"why": "x"}).status_code == 409


def test_what_nobody_goes_on_with_is_rejected_after_a_week(releases: Releases) -> None:
    def begun(days: float) -> Release:
        release = releases.opened({f"file-{days}": f"{days}"})
        Release.objects.filter(pk=release.pk).update(put_at=now - timedelta(days=days))
        return release

    now = datetime.now(UTC)
    young, old, busy = begun(6.9), begun(7.1), begun(9)
    for row in old.files.all():
        assert row.blob is not None
        type(row.blob).objects.filter(pk=row.blob_id).update(stored_at=now - timedelta(days=7.1))
    closed = begun(8)
    lifecycle.close(closed, who="user:anna", now=now)
    assert idle.reject_idle(now) == 1
    for release in (young, old, busy, closed):
        release.refresh_from_db()
    states = [one.state for one in (young, old, busy, closed)]
    assert states == ["open", "rejected", "open", "unlisted"]
    assert old.why == "nothing was added to it for 7 days, and it was never closed"
    assert idle.reject_idle(now) == 0


def test_the_same_request_twice_is_done_once(releases: Releases, anna: Caller) -> None:
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = anna("POST", "/sugar/releases", {"title": "t"}, **key)
    again = anna("POST", "/sugar/releases", {"title": "t"}, **key)
    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert Release.objects.count() == 1


def test_no_secret_address_is_kept(releases: Releases, anna: Caller) -> None:
    number = anna.post("/sugar/releases", {}, 201)["number"]
    body = {"files": [{"path": "a", "sha256": anna.upload(b"a")}]}
    anna.post(f"/sugar/releases/{number}/content", body)
    closed = anna("POST", f"/sugar/releases/{number}/close", **{"Idempotency-Key": "k1"})
    linked = anna("POST", f"/sugar/releases/{number}/link", **{"Idempotency-Key": "k2"})
    for answer in (closed, linked):
        assert answer["Cache-Control"] == "no-store"
        token = answer.json()["link"].split("/")[-2]
        kept = IdempotentAnswer.objects.values_list("body", flat=True)
        assert not [one for one in kept if token.encode() in bytes(one)]
        assert token not in json.dumps(anna.get(f"/sugar/releases/{number}"))
    assert closed.json()["link"] != linked.json()["link"]


def test_lists_come_in_pages(releases: Releases, anna: Caller) -> None:
    releases.published({f"f{number}": str(number) for number in range(5)})
    for _ in range(3):
        anna.post("/sugar/releases", {}, 201)
    seen: list[str] = []
    after = ""
    for _ in range(10):
        page = anna.get(f"/sugar/files?limit=2&prefix=f{after}")
        seen += [row["path"] for row in page["items"]]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert sorted(seen) == [f"f{number}" for number in range(5)]
    page = anna.get("/sugar/releases?limit=3")
    assert [row["number"] for row in page["items"]] == [4, 3, 2]
    rest = anna.get(f"/sugar/releases?limit=3&after={page['next']}")
    assert [row["number"] for row in rest["items"]] == [1]


def test_files_are_for_saving_only(releases: Releases, anna: Caller, bert: Caller) -> None:
    html = "<script>alert(document.cookie)</script>"
    number = put(anna, {HOSTILE: html})
    address = f"/sugar/releases/{number}/file?path={quote(HOSTILE)}"
    answer = bert("GET", address)
    assert b"".join(answer.streaming_content).decode() == html
    assert answer["Content-Type"] == "application/octet-stream"
    assert answer["Content-Disposition"] == 'attachment; filename="script___nd.html"'
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["Content-Security-Policy"].startswith("sandbox")
    part = bert("GET", address, Range="bytes=1-6")
    assert (part.status_code, b"".join(part.streaming_content)) == (206, b"script")
    assert code(bert.get(f"/sugar/releases/{number}/file?path=nothing%00", 404)) == "no-such-file"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/sugar/releases", {"title": "x" * 201}, 422),
        ("/sugar/releases", {"title": "a\0b"}, 422),
        ("/sugar/releases", {"title": "a\nb"}, 422),
        ("/nothere/releases", {}, 404),
        ("/sugar/releases/99/close", None, 404),
        ("/sugar/releases/1/content", {"files": [{"path": "../x", "sha256": "0" * 64}]}, 422),
        ("/sugar/releases/1/content", {"files": [{"path": "x", "sha256": "Z" * 64}]}, 422),
        ("/sugar/releases/1/content", {"aliases": [{"path": "x", "target": ""}]}, 422),
        ("/sugar/releases/1/close", None, 422),
        ("/sugar/releases/1/publish", {"visible_from": "2026-12-01T00:00:00"}, 422),
        ("/sugar/releases/1/publish", {"visible_from": "9999-12-31T23:59:59-12:00"}, 422),
        ("/sugar/releases/1/publish", {"visible_from": "2026-01-31T12:00:00Z"}, 422),
        ("/sugar/releases/1/publish", {}, 409),
        ("/sugar/releases/1/withdraw", {"why": ""}, 422),
        ("/sugar/rollback", {"revision": 0, "why": "x"}, 422),
        ("/sugar/rollback", {"revision": 7, "why": "x"}, 409),
        ("/sugar/promote", {"to": "nothere"}, 404),
        ("/sugar/promote", {}, 409),
        ("/sugar/promote", {"to": "sugar"}, 409),
        ("/sugar/adopt", {}, 409),
    ],
)
def test_bad_input_is_refused_with_words(
    releases: Releases, bert: Caller, path: str, body: Any, status: int
) -> None:
    bert.post("/sugar/releases", {}, 201)
    answer = bert.post(path, body, status)
    assert answer["detail"], answer


def test_a_wrong_name_comes_with_the_right_one(releases: Releases, anna: Caller) -> None:
    answer = anna.get("/suger", 404)
    assert "did you mean `sugar`?" in answer["lifted_by"]


def test_one_difference_is_asked_for_at_a_time(releases: Releases, anna: Caller) -> None:
    for asked in ("release=1&tree=sugar", "old=1&release=1", "new=1&tree=sugar"):
        assert "not of several" in str(anna.get(f"/sugar/diff?{asked}", 422)), asked


def test_an_adopted_tree_is_looked_at_when_asked(
    releases: Releases, anna: Caller, bert: Caller, rita: Caller, tmp_path: Path
) -> None:
    folder = tmp_path / "pub"
    folder.mkdir()
    (folder / "a").write_text("a")
    (folder / "next").mkdir(mode=0o750)
    tree = ReleaseTree.objects.create(name="pub", adopts=str(folder))
    before = rita.get("/pub")["adoption"]
    assert (before["looks"], before["looked_at"], before["stopped"]) == (0, None, "")
    assert anna.post("/pub/adopt", {})["asked"] == 1
    assert anna("POST", "/pub/adopt", {"loss_is_meant": True}).status_code == 403
    jobs = ProcrastinateJob.objects.filter(task_name="archive.look_at_folder")
    assert [job.args for job in jobs] == [{"tree_id": tree.pk}]
    looking.look(tree, datetime.now(UTC) + timedelta(hours=1))
    shown = rita.get("/pub")
    assert (shown["revision"], shown["files"], shown["adoption"]["unread"]) == (1, 1, 1)
    assert shown["adopts"] == str(folder)
    assert shown["adoption"]["answered"] == 1
    assert (shown["adoption"]["problem_count"], shown["adoption"]["problems"]) == (1, [])
    assert [one["path"] for one in anna.get("/pub")["adoption"]["problems"]] == ["next"]
    (folder / "a").unlink()
    looking.look(tree, datetime.now(UTC) + timedelta(hours=2), asked=True)
    assert "it is empty" in rita.get("/pub")["adoption"]["stopped"]
    bert.post("/pub/adopt", {"loss_is_meant": True})
    assert Entry.objects.get(what="loss in adopted folder allowed").who == "user:bert"
    assert code(anna.post("/pub/releases", {}, 409)) == "adopted"
