"""The scheduler goes on when the database refuses something to the models."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.conf import settings
from django.db import OperationalError, connection

from commonfarm.estate.interface import Project
from commonfarm.farm import leases
from commonfarm.farm.election import Scheduler
from commonfarm.farm.models import JobState, Lease
from commonfarm.farm.term import Timing
from commonfarm.lib.config import Config
from tests.farm.test_dispatch import eventually, state
from tests.farm.world import Agent, make_job, make_project, make_target, now, scheduler

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(make_target(tmp_path / "keyring.gpg"))


@contextmanager
def never_freed(lease: int) -> Iterator[None]:
    """Have the database refuse to end this lease while the block runs."""
    with connection.cursor() as cursor:
        cursor.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql"
            " AS $$ BEGIN RAISE EXCEPTION 'it is never freed'; END $$;"
            " CREATE TRIGGER refuse BEFORE UPDATE ON farm_lease FOR EACH ROW"
            f" WHEN (OLD.id = {lease} AND NEW.ended_at IS NOT NULL) EXECUTE FUNCTION refuse()"
        )
        try:
            yield
        finally:
            cursor.execute("DROP TRIGGER refuse ON farm_lease; DROP FUNCTION refuse")


def test_a_lease_that_cannot_be_freed_holds_up_no_other(project: Project, tmp_path: Path) -> None:
    with scheduler(tmp_path) as running:
        running.until_active()
        agents, jobs = (
            [Agent.enrol("b1"), Agent.enrol("b2")],
            [make_job(project), make_job(project)],
        )
        held = [agent.poll(running.port, wait=20)[1]["id"] for agent in agents]
        epoch = running.health()["epoch"]
        with never_freed(held[0]):
            late = now() - timedelta(seconds=1)
            Lease.objects.filter(pk=held[1]).update(deadline_at=late)
            Lease.objects.filter(pk=held[0]).update(deadline_at=late - timedelta(seconds=1))
            eventually(lambda: state(jobs[1]) == JobState.WAITING)
            status, problem = agents[0].poll(running.port)
            assert (status, problem["type"]) == (503, "urn:commonfarm:problem:scheduler-not-active")
            assert state(jobs[0]) == JobState.LEASED
        eventually(lambda: state(jobs[0]) == JobState.WAITING)
        assert running.health()["epoch"] == epoch


def test_a_sweep_that_fails_ends_the_term_and_not_the_process(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[int] = []

    def fail(_now: datetime) -> int:
        assert serving.term is not None
        epochs.append(serving.term.epoch)
        raise OperationalError("the database is away")

    monkeypatch.setattr(leases, "sweep", fail)
    config: Config = settings.COMMONFARM
    database = replace(config.database, name=connection.settings_dict["NAME"])
    quick = Timing(elect=0.05, listen=0.3, sweep=0.05, grace=0.0)
    serving = Scheduler(replace(config, database=database), quick)

    async def until_elected_again() -> None:
        running = asyncio.create_task(serving.run())
        async with asyncio.timeout(30):
            while len(epochs) < 2:
                assert not running.done()
                await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(until_elected_again())
    assert epochs[1] == epochs[0] + 1
