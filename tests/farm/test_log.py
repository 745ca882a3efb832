"""The log of a job: pieces while it runs, one blob at its end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.db.models.signals import post_init
from procrastinate import jobs
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.agent.protocol import LOG_PIECE_BYTES
from commonfarm.estate.interface import Project
from commonfarm.farm import log, tasks
from commonfarm.farm.models import LogPiece
from commonfarm.store.interface import read
from tests.farm.test_agent_api import AtWork
from tests.farm.world import make_project, make_target, now

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(make_target(tmp_path / "keyring.gpg"))


def test_log_pieces_come_twice_or_late_but_never_with_a_gap(project: Project) -> None:
    work = AtWork.on(project)
    assert work.call("PUT", "log?offset=0", b"hello ") == (200, {"received": 6})
    assert work.call("PUT", "log?offset=0", b"hello ") == (200, {"received": 6})
    assert work.call("PUT", "log?offset=3", b"lo world") == (200, {"received": 11})
    status, problem = work.call("PUT", "log?offset=99", b"x")
    assert (status, problem["received"]) == (409, 11)
    assert work.call("PUT", "log?offset=11", b"x" * (LOG_PIECE_BYTES + 1))[0] == 422
    assert work.call("PUT", "log?offset=-1", b"x")[0] == 422
    assert work.call("PUT", "log?offset=11", b"")[0] == 422
    assert log.read_log(work.lease, 0).data == b"hello world"
    assert log.read_log(work.lease, 8) == log.LogPart(8, b"rld", complete=False)


def test_the_log_is_one_blob_at_the_end(project: Project) -> None:
    work = AtWork.on(project)
    text = b"line\n" * 40_000
    for offset in range(0, len(text), LOG_PIECE_BYTES):
        piece = text[offset : offset + LOG_PIECE_BYTES]
        assert work.call("PUT", f"log?offset={offset}", piece)[0] == 200
    log.join(work.lease.pk)
    assert LogPiece.objects.exists()
    assert work.report("failed", reason="a test failed")[0] == 200
    assert log.read_log(work.lease, 0).complete
    assert work.call("PUT", f"log?offset={len(text)}", b"more")[0] == 410
    log.join(work.lease.pk)
    log.join(work.lease.pk)
    assert not LogPiece.objects.exists()
    assert read(work.refresh().lease.log_id or "") == text
    assert log.read_log(work.lease, 5, 5) == log.LogPart(5, b"line\n", complete=False)
    assert log.read_log(work.lease, len(text) - 1) == log.LogPart(len(text) - 1, b"\n", True)


def test_of_a_long_log_only_what_is_asked_for_is_loaded(project: Project) -> None:
    work = AtWork.on(project)
    for offset in range(0, 50, 5):
        work.call("PUT", f"log?offset={offset}", b"%05d" % offset)
    assert work.report("failed", reason="x")[0] == 200
    loaded: list[int] = []

    def note(instance: LogPiece, **_: object) -> None:
        loaded.append(instance.offset)

    post_init.connect(note, sender=LogPiece)
    try:
        part = log.read_log(work.lease, 12, 10)
    finally:
        post_init.disconnect(note, sender=LogPiece)
    assert part == log.LogPart(12, b"0100001500020", complete=False)
    assert loaded == [10, 15, 20]
    assert log.read_log(work.lease, 40, 10) == log.LogPart(40, b"0004000045", complete=False)
    assert log.read_log(work.lease, 40, 11) == log.LogPart(40, b"0004000045", complete=True)
    assert log.read_log(work.lease, 50) == log.LogPart(50, b"", complete=True)


def test_a_log_whose_task_was_given_up_is_joined_all_the_same(project: Project) -> None:
    running, ended = AtWork.on(project), AtWork.on(project, "b2")
    for work in (running, ended):
        work.call("PUT", "log?offset=0", b"hello")
    assert ended.report("failed", reason="x")[0] == 200
    joins = ProcrastinateJob.objects.filter(task_name="farm.join_log", status="todo")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'failed'")
    tasks.sweep(0)
    tasks.sweep(0)
    assert [one.args for one in joins] == [{"lease": ended.lease.pk}]
    tasks.join_log(**joins.get().args)
    assert ended.refresh().lease.log_id
    with connection.cursor() as cursor:
        cursor.execute("UPDATE procrastinate_jobs SET status = 'failed'")
    tasks.sweep(0)
    assert not joins.all().exists()


def test_a_log_that_cannot_be_joined_is_tried_again_later_and_later() -> None:
    assert tasks.join_log.retry_strategy is not None
    waits = []
    for attempts in (0, 4):
        job = jobs.Job(
            id=1, queue="default", lock=None, queueing_lock=None, task_name="x", attempts=attempts
        )
        decision = tasks.join_log.retry_strategy.get_retry_decision(exception=OSError(), job=job)
        assert decision is not None
        assert decision.retry_at is not None
        waits.append(decision.retry_at - now())
    assert waits[0] > timedelta(seconds=2)
    assert waits[1] > timedelta(minutes=10)


def test_a_reader_misses_nothing_while_the_log_becomes_a_blob(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = AtWork.on(project)
    work.call("PUT", "log?offset=0", b"hello")
    work.report("failed", reason="x")
    plain: Callable[..., log.LogPart] = log._from_pieces

    def joined_meanwhile(*arguments: Any) -> log.LogPart:
        log.join(work.lease.pk)
        return plain(*arguments)

    monkeypatch.setattr(log, "_from_pieces", joined_meanwhile)
    assert log.read_log(work.lease, 0) == log.LogPart(0, b"hello", complete=True)
