"""A branch is followed: its newest commit is in force, or it is told why not."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob
from pytest_django.live_server_helper import LiveServer

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.estate import answering, tasks
from commonfarm.estate.following import follow
from commonfarm.estate.kept import facts_of, seen
from commonfarm.estate.load import load_directory
from commonfarm.estate.models import Answer, Following, Host, Load
from commonfarm.estate.yaml_nodes import MOST_BYTES
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import NotFoundError, Reason, RefusedError, UnreachableError
from commonfarm.store.interface import read
from tests.estate.repositories import Repository

pytestmark = pytest.mark.django_db

WHO = "user:anna"
ONE = "hosts:\n  - {name: anvil, architecture: amd64, cores: 4, memory: 24 GiB}\n"
NOKIA = """\
sponsors:
  - {name: nokia, title: Nokia, logo: nokia.svg}
pledges:
  - {name: loan, sponsor: nokia, what: a server, from: 2026-01-01}
"""
SECRET = """\
sponsors:
  - {name: secretcorp, title: Secret}
pledges:
  - {name: secret-loan, sponsor: secretcorp, what: a server, disclosure: anonymous}
"""


class Clock:
    def __init__(self) -> None:
        self.time = datetime(2026, 1, 15, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.time

    def later(self, **much: float) -> None:
        self.time += timedelta(**much)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def upstream(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "upstream")
    made.commit({"estate.yaml": ONE}, "Describe the anvil")
    return made


@pytest.fixture
def next_minute(clock: Clock) -> Callable[[], Load | None]:
    """Return what fetches a minute later, and returns the load that was made."""

    def look() -> Load | None:
        clock.later(minutes=1)
        return follow(clock)

    return look


def start(upstream: Repository, clock: Clock, branch: str = "main", folder: str = "") -> Following:
    return Following.start(upstream.url, branch, folder, who=WHO, now=clock())


def current() -> Following:
    found = Following.current()
    assert found is not None
    return found


def refused() -> dict[str, Any]:
    found = current().refused
    assert found is not None
    return dict(found)


def events(what: str) -> list[dict[str, Any]]:
    return [one.details for one in Entry.objects.filter(what=what).order_by("pk")]


def test_the_newest_commit_is_in_force(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    first = next_minute()
    assert first is not None
    assert (first.title, first.author, first.who) == (
        "Describe the anvil",
        "Anna",
        "process:worker",
    )
    assert first.changes == ["host anvil: new"]
    assert first.origin == f"{upstream.url} (main)"
    assert next_minute() is None
    passed = upstream.commit({"estate.yaml": ONE.replace("24", "32")}, "More memory")
    tip = upstream.commit({"estate.yaml": ONE.replace("24", "48")}, "Even more memory")
    second = next_minute()
    assert second is not None
    assert (second.commit, second.changes) == (tip, ["host anvil: memory is 48 GiB, was 24 GiB"])
    assert [(one["id"], one["subject"]) for one in second.passed] == [(passed, "More memory")]
    assert current().tip == tip
    assert [one["commit"] for one in events("estate loaded")] == [first.commit, tip]


def test_it_is_not_fetched_all_the_time(upstream: Repository, clock: Clock) -> None:
    start(upstream, clock)
    assert follow(clock) is not None
    upstream.commit({"estate.yaml": ONE.replace("24", "48")})
    clock.later(seconds=15)
    assert follow(clock) is None
    clock.later(seconds=15)
    assert follow(clock) is not None


def test_a_commit_with_faults_leaves_the_estate_in_force(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    good = next_minute()
    bad = upstream.commit({"estate.yaml": ONE.replace("24 GiB", "24 GB/s")}, "Break it")
    assert next_minute() is None
    assert next_minute() is None
    following = current()
    assert good is not None
    assert following.tip == good.commit
    assert (refused()["commit"], refused()["title"]) == (bad, "Break it")
    (problem,) = refused()["problems"]
    assert (problem["file"], problem["line"]) == ("estate.yaml", 2)
    (event,) = events("estate not loaded")
    assert event["commit"] == bad
    assert event["problems"][0].startswith("estate.yaml:2:"), "told once, with its place"
    told = Entry.objects.get(what="estate not loaded").why
    assert told == f"commit {bad[:12]}: {event['problems'][0]}"
    mended = upstream.commit({"estate.yaml": ONE.replace("24", "48")}, "Mend it")
    load = next_minute()
    assert load is not None
    assert (load.commit, [one["subject"] for one in load.passed]) == (mended, ["Break it"])
    assert current().refused is None


def test_of_very_many_changes_and_faults_the_first_are_told(
    upstream: Repository,
    clock: Clock,
    next_minute: Callable[[], Load | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("commonfarm.estate.load.MOST_CHANGES", 2)
    monkeypatch.setattr("commonfarm.estate.following.MOST_PROBLEMS", 2)
    many = [f"  - {{name: h{n}, architecture: {'amd64' if n % 2 else 'arm64'}}}" for n in range(4)]
    upstream.commit({"estate.yaml": "\n".join(["pools: []", *ONE.splitlines(), *many, ""])})
    start(upstream, clock)
    load = next_minute()
    assert load is not None and load.changes == ["host anvil to h3 (5): new"]
    wrong = [f"  - {{name: h{n}, architecture: amd64, memory: {n} GiB}}" for n in range(1, 5)]
    upstream.commit({"estate.yaml": "\n".join([*ONE.splitlines(), *wrong, ""])})
    again = next_minute()
    assert again is not None and (len(again.changes), again.changes[2][:4]) == (3, "and ")
    upstream.commit({"estate.yaml": "\n".join([*ONE.splitlines(), *["  - {nmae: x}"] * 4, ""])})
    assert next_minute() is None
    assert [one["what"] for one in refused()["problems"]][2].endswith("more faults follow")


def test_a_branch_that_was_rewritten_is_told_and_taken_when_it_is_followed_anew(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    second = upstream.commit({"estate.yaml": ONE.replace("24", "48")})
    next_minute()
    upstream.git("reset", "--quiet", "--hard", "HEAD^")
    other = upstream.commit({"estate.yaml": ONE.replace("24", "96")})
    assert next_minute() is None
    (problem,) = refused()["problems"]
    assert problem["what"] == (
        f"was rewritten: commit {other[:12]} is no descendant of {second[:12]}, which is in force"
    )
    assert problem["to_do"].endswith(f"commonfarm estate follow {upstream.url} --branch main")
    start(upstream, clock)
    load = next_minute()
    assert load is not None
    assert (load.commit, load.passed) == (other, [])
    assert current().refused is None


def test_what_changes_no_file_of_the_estate_is_no_load(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    next_minute()
    tip = upstream.commit({"README": "not ours"}, "Say more")
    next_minute()
    assert Load.objects.count() == 1
    assert current().tip == tip
    signed_in = Client()
    signed_in.force_login(User.add("ben", Role.READER, who="test"))
    page = signed_in.get("/estate/").content.decode()
    assert f"{tip[:12]}</code> no commit changed it" in page
    assert "The estate names no pledges." in page


def test_the_estate_may_lie_in_a_folder(
    tmp_path: Path, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    upstream = Repository(tmp_path / "whole", branch="trunk")
    upstream.commit({"infra/estate/a.yaml": ONE, "other.yaml": "a: [", "infra/b.yaml": "b: ["})
    start(upstream, clock, "trunk", "infra/estate")
    load = next_minute()
    assert load is not None
    assert load.changes == ["host anvil: new"]
    assert load.origin == f"{upstream.url} (trunk, infra/estate)"
    start(upstream, clock, "trunk", "infra/nothing")
    next_minute()
    assert "is no folder of commit" in refused()["problems"][0]["what"]


def test_links_and_large_files_are_no_part_of_it(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    (upstream.path / "hosts.yaml").symlink_to("/etc/passwd")
    upstream.commit({"large.yaml": "# " + "x" * MOST_BYTES + "\n", ".hidden.yaml": "a: ["})
    start(upstream, clock)
    assert next_minute() is None
    problems = refused()["problems"]
    assert [one["file"] for one in problems] == ["hosts.yaml", "large.yaml"]
    assert "not a plain file" in problems[0]["what"]


@pytest.mark.parametrize("name", ["a\x1b[31m.yaml", "x" * 300 + ".yaml", "a\n.yml"])
def test_a_file_with_a_hostile_name_is_told(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None], name: str
) -> None:
    (upstream.path / "tree").write_text(
        f"100644 blob {upstream.git('rev-parse', 'HEAD:estate.yaml')}\t{name}\0"
    )
    with (upstream.path / "tree").open() as listed:
        tree = subprocess.run(
            ["git", "-C", str(upstream.path), "mktree", "-z"],
            stdin=listed,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
    upstream.git("update-ref", "refs/heads/main", upstream.git("commit-tree", tree, "-m", "x"))
    start(upstream, clock)
    assert next_minute() is None
    (problem,) = refused()["problems"]
    assert problem["file"].isprintable()
    assert "its name is longer than 100 or has characters" in problem["what"]


def test_a_commit_over_which_we_stumble_is_told_and_the_next_one_is_loaded(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    with mock.patch("commonfarm.estate.load.prepare", side_effect=RecursionError):
        assert next_minute() is None
    assert "a fault of ours" in refused()["problems"][0]["what"]
    upstream.commit({"estate.yaml": ONE.replace("24", "48")})
    assert next_minute() is not None
    assert current().refused is None


def test_a_disk_that_is_full_is_told(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch("commonfarm.estate.git.Clone.fetch", side_effect=full):
        assert next_minute() is None
    assert "cannot be written: No space left on device" in str(current().problem)


def test_what_cannot_be_fetched_is_told_once_and_tried_less_and_less_often(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    next_minute()
    away = upstream.path.rename(upstream.path.with_name("away"))
    tries = []
    for _ in range(10):
        before = current().tried_at
        next_minute()
        tries.append(current().tried_at != before)
    assert tries == [True, True, False, True, False, False, True, False, False, False]
    assert "does not appear to be a git repository" in str(current().problem)
    assert len(events("estate not fetched")) == 1
    away.rename(upstream.path)
    clock.later(hours=1)
    next_minute()
    assert (current().problem, current().failures) == (None, 0)


def test_a_clone_that_cannot_be_read_is_told_and_made_anew(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    next_minute()
    upstream.commit({"estate.yaml": ONE.replace("24", "48")})

    def damaged(*_: object) -> list[bytes]:
        raise UnreachableError(Reason("repository-not-read", "git cat-file: bad object"))

    with mock.patch("commonfarm.estate.git.Clone.read", damaged):
        assert next_minute() is None
    assert "bad object" in str(current().problem)
    clock.later(minutes=1)
    load = next_minute()
    assert load is not None and current().problem is None


def test_while_it_is_followed_no_directory_is_loaded(
    upstream: Repository, clock: Clock, folder: Path
) -> None:
    start(upstream, clock)
    with pytest.raises(RefusedError, match=r"the estate follows file:.* --stop"):
        load_directory(folder, WHO)
    Following.stop(who=WHO)
    assert load_directory(folder, WHO).commit == ""
    with pytest.raises(NotFoundError, match="follows no repository"):
        Following.stop(who=WHO)
    assert follow(clock) is None
    assert [one["url"] for one in events("estate followed no more")] == [upstream.url]


def test_what_host_stands_for_is_looked_up_again_after_an_hour(
    upstream: Repository,
    clock: Clock,
    next_minute: Callable[[], Load | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    upstream.commit({"estate.yaml": ONE.replace("amd64", "host")})
    start(upstream, clock)
    next_minute()
    monkeypatch.setattr("commonfarm.estate.host_apt.host_architecture", lambda: "riscv64")
    assert next_minute() is None
    clock.later(hours=1)
    load = next_minute()
    assert load is not None
    assert Host.named("anvil").architecture == "riscv64"


def test_files_are_kept_as_they_were_committed(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    logo = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
    upstream.commit({"givers.yaml": NOKIA, "nokia.svg": logo, "other.svg": logo + b" "})
    start(upstream, clock)
    load = next_minute()
    assert load is not None
    kept = {one.name: read(one.blob_id) for one in load.files.all()}
    assert kept == {
        "estate.yaml": ONE.encode(),
        "givers.yaml": NOKIA.encode(),
        "nokia.svg": logo,
    }
    upstream.commit({"nokia.svg": logo + b"\n"}, "Another logo")
    again = next_minute()
    assert again is not None and again.changes == []
    assert facts_of(load) == facts_of(again), "those of an older load are made again of its files"
    Load.objects.filter(pk=again.pk).update(facts='{"of": "another version"}')
    from commonfarm.estate import kept as module

    module._facts.cache_clear()
    assert facts_of(again).sponsors["nokia"].logo == "nokia.svg"


@pytest.mark.parametrize(
    ("logo", "content", "wrong"),
    [
        ("none.svg", None, "is not there"),
        ("logo.html", b"<html>", "is not a picture's file name"),
        ("large.png", bytes(300_000), "is larger than 256.0 KiB"),
    ],
)
def test_a_logo_that_is_none_is_told_where_it_is_named(
    upstream: Repository,
    clock: Clock,
    next_minute: Callable[[], Load | None],
    logo: str,
    content: bytes | None,
    wrong: str,
) -> None:
    files: dict[str, str | bytes | None] = {"givers.yaml": NOKIA.replace("nokia.svg", logo)}
    if content is not None:
        files[logo] = content
    upstream.commit(files)
    start(upstream, clock)
    assert next_minute() is None
    (problem,) = refused()["problems"]
    assert (problem["file"], problem["line"]) == ("givers.yaml", 2)
    assert wrong in problem["what"]


def test_who_gives_anonymously_is_in_no_line_that_others_read(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    next_minute()
    upstream.commit({"givers.yaml": SECRET}, "Somebody gives")
    load = next_minute()
    assert load is not None
    assert load.changes == ["sponsor anonymous-1: new", "pledge anonymous-2: new"]
    lent = ONE.replace("GiB}", "GiB, pledge: secret-loan, source: mail of secretcorp}")
    more = SECRET.replace("a server", "two servers of secretcorp")
    upstream.commit({"givers.yaml": more, "estate.yaml": lent})
    load = next_minute()
    assert load is not None
    assert load.changes == [
        "host anvil: pledge is anonymous-2, was -",
        "host anvil: sponsor is anonymous-1, was -",
    ]
    public = more.replace("disclosure: anonymous", "disclosure: public")
    upstream.commit({"givers.yaml": public.replace("secretcorp", "nokia")})
    load = next_minute()
    assert load is not None
    assert "pledge anonymous-2: disclosure is public, was anonymous" in load.changes
    assert "secret" not in json.dumps([[one.details, one.why] for one in Entry.objects.all()])
    upstream.commit({"givers.yaml": more})
    load = next_minute()
    assert load is not None
    assert "secret" not in repr(seen(load))
    assert "secretcorp" in facts_of(load).sponsors


def test_a_fault_names_nobody_who_gives_anonymously(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    lent = ONE.replace("GiB}", "GiB, pledge: secrt-loan}")
    upstream.commit({"estate.yaml": lent, "givers.yaml": SECRET + "hosts: 7\n"})
    start(upstream, clock)
    assert next_minute() is None
    told = [f"{one['what']}; {one['to_do']}" for one in refused()["problems"]]
    assert "there is no pledge `(anonymous)`; did you mean `(anonymous)`?" in told
    (event,) = events("estate not loaded")
    assert "secr" not in json.dumps(event).replace("secret.yaml", "")


def test_an_amount_that_is_hidden_is_in_no_line_that_others_read(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    hidden = SECRET.replace("anonymous", "amount hidden")
    upstream.commit({"givers.yaml": hidden})
    start(upstream, clock)
    next_minute()
    upstream.commit({"givers.yaml": hidden.replace("a server", "nine servers")})
    load = next_minute()
    assert load is not None and load.changes == []


def client(role: Role) -> Client:
    user = User.add(f"a-{role}", role, who="test")
    token = ApiToken.make(user, "test", who="test").reveal()
    return Client(headers={"Authorization": f"Bearer {token}"})


def ask(by: Client, body: dict[str, str], **more: Any) -> tuple[int, Any]:
    path = "/api/v1/estate/following"
    answer = by.post(path, json.dumps(body), content_type="application/json", **more)
    return answer.status_code, answer.json()


def test_an_admin_says_what_is_followed(upstream: Repository, clock: Clock) -> None:
    admin, reader = client(Role.ADMIN), client(Role.READER)
    assert reader.get("/api/v1/estate/following").status_code == 404
    assert ask(client(Role.COORDINATOR), {"url": upstream.url})[0] == 403
    status, made = ask(admin, {"url": upstream.url})
    assert (status, made["branch"], made["tip"]) == (200, "main", "")
    assert ProcrastinateJob.objects.filter(task_name="estate.follow").count() == 1
    tasks.follow()
    shown = reader.get("/api/v1/estate/following").json()
    assert shown["tip"] == upstream.git("rev-parse", "HEAD")
    (load,) = reader.get("/api/v1/estate/loads").json()["items"]
    assert (load["commit"], load["title"]) == (shown["tip"], "Describe the anvil")
    assert reader.delete("/api/v1/estate/following").status_code == 403
    assert admin.delete("/api/v1/estate/following").status_code == 204
    assert admin.delete("/api/v1/estate/following").status_code == 404


def test_a_repository_of_this_machine_is_followed_from_here_only(upstream: Repository) -> None:
    admin = client(Role.ADMIN)
    away = {"headers": {"X-Forwarded-For": "192.0.2.1"}}
    status, said = ask(admin, {"url": upstream.url}, **away)
    assert (status, said["type"]) == (403, "urn:commonfarm:problem:not-from-here")
    assert ask(admin, {"url": "https://git.example.org/estate"}, **away)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        {"url": "ext::sh -c id"},
        {"url": "/etc"},
        {"url": "https://a:b@example.org/x"},
        {"url": "https://example.org/x", "branch": "--help"},
        {"url": "https://example.org/x", "folder": "../x"},
        {"url": "https://example.org/x\0"},
    ],
)
def test_what_is_not_followed(body: dict[str, str]) -> None:
    assert ask(client(Role.ADMIN), body)[0] == 422
    assert Following.current() is None


STEPS = (
    "commonfarm.estate.git.Clone.fetch",
    "commonfarm.estate.git.Clone._git",
    "commonfarm.estate.git.Clone._fetch",
    "commonfarm.estate.git._end",
    "commonfarm.estate.git.Clone.newest",
    "commonfarm.estate.models.Following.was_fetched",
    "commonfarm.estate.models.Following.is_to_be_judged",
    "commonfarm.estate.load.prepare",
    "commonfarm.estate.load.put",
    "commonfarm.estate.load.put_all",
    "commonfarm.estate.load.Load.objects.create",
    "commonfarm.estate.load.record",
    "commonfarm.estate.models.Following.accept",
)


def killed(step: str, act: Callable[[], object]) -> int:
    """Act in a process of its own that is killed at `step`; return how it ended."""
    connection.close()
    child = os.fork()
    if child == 0:
        try:
            with mock.patch(step, lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)):
                act()
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1]


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_is_killed_anywhere_is_no_loss(upstream: Repository, clock: Clock) -> None:
    start(upstream, clock)
    for number, step in enumerate(STEPS, 1):
        tip = upstream.commit({"estate.yaml": ONE.replace("24", str(24 + number))})
        clock.later(minutes=1)
        assert killed(step, lambda: follow(clock)) == signal.SIGKILL, step
        clock.later(minutes=1)
        load = follow(clock)
        assert load is not None, step
        assert (load.commit, len(load.changes), Load.objects.count()) == (tip, 1, number), step
        assert len(events("estate loaded")) == number, step
    assert settings.COMMONFARM.followed.stat().st_mode & 0o777 == 0o700


@pytest.mark.django_db(transaction=True)
def test_answers_are_made_though_a_worker_was_killed_before_they_were_kept(
    upstream: Repository, clock: Clock
) -> None:
    start(upstream, clock)
    assert killed("commonfarm.estate.tasks.want_answers", tasks.follow) == signal.SIGKILL
    assert Load.objects.count() == 1
    assert not ProcrastinateJob.objects.filter(task_name="estate.answer").exists()
    tasks.reconcile_estate(0)
    asked = ProcrastinateJob.objects.filter(task_name="estate.answer")
    assert sorted(one.args["kind"] for one in asked) == sorted(answering.KINDS)
    step = "commonfarm.estate.models.Answer.objects.update_or_create"
    assert killed(step, lambda: tasks.answer("forecast")) == signal.SIGKILL
    assert not Answer.objects.exists()
    tasks.answer("forecast")
    assert Answer.objects.get().problem is None


@pytest.mark.django_db(transaction=True)
def test_the_command_waits_until_it_is_known_how_it_went(
    upstream: Repository, live_server: LiveServer
) -> None:
    token = ApiToken.make(User.add("chief", Role.ADMIN, who="test"), "test", who="test").reveal()
    to_hub = {"COMMONFARM_HUB": live_server.url, "COMMONFARM_TOKEN": token}

    def told(*arguments: str, fetched: bool = False) -> tuple[int, list[str]]:
        running = subprocess.Popen(
            [sys.executable, "-m", "commonfarm.cli.main", "estate", "follow", *arguments],
            env=os.environ | to_hub,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while fetched and running.poll() is None:
            follow(lambda: datetime.now(UTC))
        return running.wait(30), (running.communicate()[0]).splitlines()

    code, lines = told(upstream.url, fetched=True)
    tip = upstream.git("rev-parse", "HEAD")
    assert (code, lines) == (
        0,
        [f"follows {upstream.url}, branch main", f"commit {tip[:12]} is in force"],
    )
    bad = upstream.commit({"estate.yaml": "hosts: 7\n"}, "Break it")
    code, lines = told(upstream.url, fetched=True)
    assert (code, lines[1]) == (2, f"commit {bad[:12]} (Break it) is not loaded:")
    assert lines[2].startswith("  estate.yaml:1:8: `hosts` is")
    assert told("--stop") == (0, ["the estate follows nothing any more"])
