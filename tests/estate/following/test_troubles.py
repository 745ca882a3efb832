"""What keeps a branch from being followed is told, and a worker that is killed loses nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from django.conf import settings
from django.db import connection
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.estate import answering, tasks
from commonfarm.estate.following import follow
from commonfarm.estate.kept import facts_of
from commonfarm.estate.load import load_directory
from commonfarm.estate.models import Answer, Following, Host, Load
from commonfarm.lib.errors import NotFoundError, Reason, RefusedError, UnreachableError
from commonfarm.store.interface import read
from tests.estate.following.helpers import NOKIA, ONE, WHO, Clock, current, events, refused, start
from tests.estate.repositories import Repository
from tests.locks import wait_until_free

pytestmark = pytest.mark.django_db


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
    ended = os.waitpid(child, 0)[1]
    wait_until_free()
    return ended


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
