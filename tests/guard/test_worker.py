"""Jobs of a worker that died are handed out again; those that another one stands for are not."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import pytest
from django.db import connection, transaction
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector

from commonfarm.guard import worker
from commonfarm.guard.interface import defer_once
from commonfarm.guard.worker import DEAD_SECONDS, MOST_ATTEMPTS, requeue_stalled


@app.task(name="tests.guard.noted")
def noted(number: int) -> None:
    """A task that is never run here: only its jobs matter."""


@pytest.fixture(autouse=True)
def _no_jobs(transactional_db: None) -> Iterator[None]:
    """Leave no jobs: these tables are not Django's to empty."""
    yield
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs, procrastinate_workers CASCADE")


def _worker(seconds_since_heartbeat: float) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO procrastinate_workers (last_heartbeat)"
            " VALUES (now() - make_interval(secs => %s)) RETURNING id",
            [seconds_since_heartbeat],
        )
        return int(cursor.fetchone()[0])


def _taken(number: int, worker: int | None, key: str, attempts: int = 0) -> int:
    """Return a job that `worker` has begun."""
    assert defer_once(noted, key, number=number)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE procrastinate_jobs SET status = 'doing', worker_id = %s, attempts = %s"
            " WHERE queueing_lock = %s AND status = 'todo' RETURNING id",
            [worker, attempts, key],
        )
        return int(cursor.fetchone()[0])


def _states() -> dict[int, str]:
    """Return the state of each of our jobs: tests of other rooms leave theirs behind."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id, status FROM procrastinate_jobs WHERE task_name = %s", [noted.name]
        )
        return dict(cursor.fetchall())


def _sweep() -> int:
    async def once() -> int:
        async with app.open_async():
            return await requeue_stalled()

    assert isinstance(app.connector, DjangoConnector)
    with app.replace_connector(app.connector.get_worker_connector()):
        return asyncio.run(once())


def test_only_what_a_dead_worker_held_is_handed_out_again() -> None:
    dead, alive = _worker(DEAD_SECONDS + 5), _worker(1)
    lost = _taken(1, dead, "lost")
    forgotten = _taken(2, None, "forgotten")
    under_way = _taken(3, alive, "under way")
    assert _sweep() == 2
    assert _states() == {lost: "todo", forgotten: "todo", under_way: "doing"}
    assert _sweep() == 0


def test_a_job_that_another_stands_for_is_closed() -> None:
    lost = _taken(1, _worker(DEAD_SECONDS + 5), "same")
    assert defer_once(noted, "same", number=1)
    assert not defer_once(noted, "same", number=1)
    (waiting,) = (job for job, state in _states().items() if state == "todo")
    assert _sweep() == 0
    assert _states() == {lost: "aborted", waiting: "todo"}


def test_a_job_that_waits_for_a_later_time_is_brought_forward() -> None:
    def in_seconds() -> float:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT extract(epoch FROM scheduled_at - now())::float8 FROM procrastinate_jobs"
                " WHERE queueing_lock = 'later'"
            )
            return float(cursor.fetchone()[0])

    assert defer_once(noted, "later", in_seconds=3600, number=1)
    assert not defer_once(noted, "later", in_seconds=600, number=1)
    assert 500 < in_seconds() <= 600
    assert not defer_once(noted, "later", in_seconds=1800, number=1)
    assert in_seconds() <= 600
    assert not defer_once(noted, "later", number=1)
    assert in_seconds() <= 0


def test_a_job_that_kills_its_workers_is_given_up() -> None:
    lost = _taken(1, _worker(DEAD_SECONDS + 5), "deadly", attempts=MOST_ATTEMPTS)
    assert _sweep() == 0
    assert _states() == {lost: "failed"}


@pytest.mark.parametrize("rolled_back", [True, False])
def test_what_a_task_asks_for_waits_for_its_transaction(rolled_back: bool) -> None:
    # In a worker the queue has connections of its own, which would not wait.
    seen = []

    def task() -> None:
        try:
            with suppress(ZeroDivisionError), transaction.atomic():
                assert defer_once(noted, "in-a-task", number=1)
                with ThreadPoolExecutor(1) as other:
                    seen.append(other.submit(look).result())
                if rolled_back:
                    raise ZeroDivisionError
        finally:
            connection.close()

    def look() -> int:
        try:
            return len(_states())
        finally:
            connection.close()

    async def work() -> None:
        async with app.open_async():
            await asyncio.to_thread(task)

    assert isinstance(app.connector, DjangoConnector)
    with app.replace_connector(app.connector.get_worker_connector()):
        asyncio.run(work())
    assert seen == [0]
    assert len(_states()) == (0 if rolled_back else 1)


def test_a_worker_begins_anew_when_the_clock_is_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    times, sent = iter([1000.0, 1000.0, 990.0, 5000.0, 4000.0]), list[int]()
    monkeypatch.setattr(worker, "time", SimpleNamespace(time=lambda: next(times)))
    monkeypatch.setattr(signal, "raise_signal", sent.append)

    async def at_once(_seconds: float) -> None:
        """Wait for nothing."""

    monkeypatch.setattr(asyncio, "sleep", at_once)
    asyncio.run(worker._watch_clock())
    assert sent == [signal.SIGTERM]
    assert next(times, None) is None
