"""A real worker and a real signer, killed, late or cut off: a publication comes to its end."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from commonfarm.archive import ports, publishing
from commonfarm.archive.models import Publication
from commonfarm.lib.config import Config
from commonfarm.mirrors.models import Mirror
from commonfarm.mirrors.tasks import want_scan
from tests.archive.conftest import running_signer
from tests.archive.world import World, make_deb
from tests.mirrors.web import serving

ENOUGH_SECONDS = 120.0
CUT_THE_OTHERS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
"""


class Worker:
    """Worker processes on the test's database, one at a time."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._log = (config.state / "worker.log").open("wb")
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._running = subprocess.Popen(
            [sys.executable, "-m", "commonfarm.cli.main", "worker"],
            env=os.environ | {"COMMONFARM_CONFIG": str(self._config.file)},
            stdout=self._log,
            stderr=self._log,
        )

    def kill(self) -> None:
        assert self._running is not None
        self._running.kill()
        self._running.wait()

    def close(self) -> None:
        if self._running is not None:
            self._running.terminate()
            self._running.wait(60)
        self._log.close()

    def log(self) -> str:
        return (self._config.state / "worker.log").read_text()


@pytest.fixture
def worker(world: World, installation: Config) -> Iterator[Worker]:
    worker = Worker(installation)
    yield worker
    worker.close()
    # These tables are not Django's to empty.
    with connection.cursor() as cursor:
        cursor.execute(
            "TRUNCATE procrastinate_jobs, procrastinate_workers, procrastinate_periodic_defers"
            " CASCADE"
        )


def rows(query: str) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query)
        return list(cursor.fetchall())


def wait_for(true: Callable[[], object], worker: Worker) -> None:
    deadline = time.monotonic() + ENOUGH_SECONDS
    while not true():
        assert time.monotonic() < deadline, worker.log()
        time.sleep(0.05)


def state() -> str:
    return Publication.objects.latest("revision").state


def under_way() -> bool:
    return bool(
        rows(
            "SELECT 1 FROM procrastinate_jobs"
            " WHERE task_name = 'archive.publish_tree' AND status = 'doing'"
        )
    )


def test_what_waits_for_the_signer_is_tried_again_within_seconds(
    world: World, pool: Path, worker: Worker, installation: Config
) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    worker.start()
    planned = (
        "SELECT 1 FROM procrastinate_jobs WHERE task_name = 'archive.publish_tree'"
        " AND status = 'todo' AND scheduled_at BETWEEN now() AND now() + interval '10 seconds'"
    )
    wait_for(lambda: rows(planned), worker)
    waits = Publication.objects.get()
    assert waits.state == "assembled"
    assert "the signer does not answer" in waits.problem
    with running_signer(installation):
        wait_for(lambda: state() == "published", worker)


def test_a_worker_killed_while_it_publishes_is_stood_in_for(
    world: World, pool: Path, worker: Worker, installation: Config
) -> None:
    with running_signer(installation) as signer:
        signer.send_signal(signal.SIGSTOP)
        try:
            world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
            worker.start()
            wait_for(lambda: state() == "assembled" and under_way(), worker)
            worker.kill()
        finally:
            signer.send_signal(signal.SIGCONT)
        worker.start()
        wait_for(lambda: state() == "published" and not under_way(), worker)


def test_a_worker_whose_sessions_were_cut_goes_on(
    world: World, pool: Path, worker: Worker, installation: Config
) -> None:
    with running_signer(installation):
        worker.start()
        for number in (1, 2):
            world.add(f"job:{number}", make_deb(pool, f"p{number}", "1", "amd64"))
            wait_for(lambda: state() == "published", worker)
            rows(CUT_THE_OTHERS)
        world.add("job:3", make_deb(pool, "p3", "1", "amd64"))
        wait_for(lambda: state() == "published", worker)


def test_who_adds_while_the_task_looks_for_work_is_waited_for(
    world: World, pool: Path, installation: Config
) -> None:
    """Who adds may find a task waiting, and leave none of its own: that one is to see it."""

    def work() -> None:
        publishing.publish(world.tree)
        connection.close()

    task = threading.Thread(target=work)
    with transaction.atomic():
        world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
        task.start()
        deadline = time.monotonic() + ENOUGH_SECONDS
        while task.is_alive() and not rows("SELECT 1 FROM pg_locks WHERE NOT granted"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert task.is_alive(), "it looked, found nothing and ended"
    task.join(ENOUGH_SECONDS)
    assert state() == "assembled"


def test_a_switch_whose_session_was_cut_ends_before_the_next_one_begins(
    world: World, pool: Path, signer: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database lets go of the lock of a session that was cut; the folder is still written."""
    monkeypatch.setattr(ports.tree_published, "_filled_by", lambda tree, revision: None)
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    publication = Publication.objects.get()
    for _ in ("assemble", "sign"):
        publishing.advance(publication)
    writes, goes_on, errors = threading.Event(), threading.Event(), []
    real = subprocess.run

    def run(*arguments: Any, **named: Any) -> Any:
        if not writes.is_set():
            writes.set()
            assert goes_on.wait(ENOUGH_SECONDS)
        return real(*arguments, **named)

    monkeypatch.setattr(subprocess, "run", run)

    def work() -> None:
        try:
            publishing.publish(world.tree)
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    cut, next_one = threading.Thread(target=work), threading.Thread(target=work)
    cut.start()
    assert writes.wait(ENOUGH_SECONDS)
    rows(CUT_THE_OTHERS)
    next_one.start()
    waits_for_cut = re.compile(r"-> FLOCK .* WRITE ")
    while next_one.is_alive() and not waits_for_cut.search(Path("/proc/locks").read_text()):
        time.sleep(0.05)
    goes_on.set()
    cut.join(ENOUGH_SECONDS)
    next_one.join(ENOUGH_SECONDS)
    assert state() == "published"
    assert [type(one) for one in errors] == [OperationalError]
    assert (signer.published / "main").readlink() == Path("main.r1")
    assert not [one.name for one in signer.published.iterdir() if one.name.startswith(".")]


def test_mirrors_that_do_not_answer_hold_up_no_publication(
    world: World, pool: Path, worker: Worker, signer: Config, tmp_path: Path
) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    publishing.publish(world.tree)
    with serving(tmp_path / "web") as web:
        web.behaviour = "hold"
        for number in range(20):
            mirror = Mirror.objects.create(
                name=f"m{number}",
                http=f"{web.url}{number}/",
                tree=world.tree,
                country="DE",
                proved_at=timezone.now(),
            )
            want_scan(mirror)
        last = rows("SELECT max(id) FROM procrastinate_jobs WHERE task_name = 'mirrors.scan'")[0][0]
        worker.start()
        wait_for(lambda: len(web.asked) >= 4, worker)
        world.add("job:2", make_deb(pool, "bye", "1", "amd64"))
        wait_for(lambda: state() == "published", worker)
        assert rows(f"SELECT status FROM procrastinate_jobs WHERE id = {last}") == [("todo",)]
