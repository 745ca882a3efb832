"""The scheduler as a process: builders poll it over HTTP, and it is killed."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from commonfarm.agent.protocol import LeaseRequest
from commonfarm.estate.interface import Project
from commonfarm.farm.models import Job, JobState, Lease, SchedulerEpoch
from commonfarm.journal.models import Entry
from tests.farm.world import (
    GIB,
    Agent,
    SchedulerProcess,
    facts,
    make_job,
    make_project,
    make_target,
    now,
    post,
    scheduler,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(make_target(tmp_path / "keyring.gpg"))


@pytest.fixture
def running(project: Project, tmp_path: Path) -> Iterator[SchedulerProcess]:
    with scheduler(tmp_path) as process:
        process.until_active()
        yield process


def eventually(true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def waiting(agent: Agent, port: int, seconds: float) -> Iterator[Future[tuple[int, Any]]]:
    """Have a builder wait for a job; the block begins when the scheduler has heard that it does."""
    seen = agent.row.last_seen_at
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(agent.poll, port, seconds)
        eventually(lambda: agent.row.last_seen_at != seen)
        yield asked


def state(job: Job) -> str:
    return Job.objects.get(pk=job.pk).state


def test_a_waiting_job_goes_to_the_builder_that_asks(
    running: SchedulerProcess, project: Project
) -> None:
    agent, job = Agent.enrol(), make_job(project)
    status, lease = agent.poll(running.port, wait=20)
    assert status == 200
    assert (lease["job"], lease["source_name"], lease["dsc"]) == (
        job.pk,
        "greeting",
        "greeting_1.0.dsc",
    )
    assert [one["name"] for one in lease["files"]] == ["greeting_1.0.dsc", "greeting_1.0.tar.xz"]
    assert lease["buildroot"]["keyring"] == "YSBrZXlyaW5n"
    assert lease["buildroot"]["package_sources"][0]["suite"] == "bookworm"
    assert (lease["parallel"], lease["rebuild_suffix"]) == (4, None)
    assert 0 < lease["limits"]["memory_bytes"] < 8 * GIB
    row = Lease.objects.get(pk=lease["id"])
    assert (row.job_id, row.generation, row.ended_at) == (job.pk, agent.generation, None)
    assert row.epoch == SchedulerEpoch.objects.get().epoch
    assert state(job) == JobState.LEASED
    assert (agent.row.cleanliness, agent.row.running) == ("dirty", 1)
    told = Entry.objects.get(subject=f"job:{job.pk}", what="job leased")
    assert told.details == {"lease": lease["id"], "builder": "b1"}


def test_a_builder_that_waits_hears_of_a_new_job_at_once(
    running: SchedulerProcess, project: Project
) -> None:
    """At once: within its time, in which the scheduler does not look by itself."""
    with waiting(Agent.enrol(), running.port, 20.0) as asked:
        assert not asked.done()
        job = make_job(project)
        status, lease = asked.result()
    assert (status, lease["job"]) == (200, job.pk)


def test_nothing_to_do_is_answered_when_the_time_is_up(running: SchedulerProcess) -> None:
    begun = time.monotonic()
    assert Agent.enrol().poll(running.port, wait=0.5) == (204, None)
    assert time.monotonic() - begun > 0.4


def test_only_what_fits_is_given(running: SchedulerProcess, project: Project) -> None:
    make_job(project, memory_bytes=64 * GIB)
    make_job(project, features=["kvm"])
    fitting = make_job(project, memory_bytes=8 * GIB, features=["runc"])
    status, lease = Agent.enrol().poll(running.port, wait=20)
    assert (status, lease["job"]) == (200, fitting.pk)
    assert Agent.enrol("arm", architecture="arm64").poll(running.port)[0] == 204
    status, lease = Agent.enrol("big", memory_bytes=64 * GIB).poll(running.port, wait=20)
    assert status == 200
    assert lease["limits"]["memory_bytes"] >= 64 * GIB


def test_what_was_accepted_is_built_though_its_target_was_retired(
    running: SchedulerProcess, project: Project
) -> None:
    agent, job = Agent.enrol(), make_job(project)
    project.targets.update(retired_at=now())
    status, lease = agent.poll(running.port, wait=20)
    assert (status, lease["job"]) == (200, job.pk)
    assert lease["buildroot"]["target"] == "bookworm-amd64"


def test_a_cordoned_builder_gets_nothing(running: SchedulerProcess, project: Project) -> None:
    agent, job = Agent.enrol(), make_job(project)
    agent.row.cordon("its disk fails", who="user:anna", now=now())
    assert agent.poll(running.port, wait=0.5)[0] == 204
    agent.row.uncordon(who="user:anna")
    assert agent.poll(running.port, wait=20)[1]["job"] == job.pk


def test_a_lease_that_is_not_held_any_more_is_freed_at_once(
    running: SchedulerProcess, project: Project
) -> None:
    agent, job = Agent.enrol(), make_job(project)
    first = agent.poll(running.port, wait=20)[1]
    assert agent.poll(running.port, holding=[first["id"]], clean=False)[0] == 204
    second = agent.poll(running.port, wait=20)[1]
    assert second["job"] == job.pk
    assert second["id"] != first["id"]
    lost = Lease.objects.get(pk=first["id"])
    assert (lost.outcome, lost.reason) == ("lost", "b1 came back without it")
    assert Entry.objects.filter(subject=f"job:{job.pk}", what="job freed").count() == 1
    assert agent.row.running == 1


def test_a_dirty_builder_gets_nothing(running: SchedulerProcess, project: Project) -> None:
    agent = Agent.enrol()
    make_job(project)
    agent.poll(running.port, wait=20)
    assert agent.poll(running.port, wait=0.5, clean=False)[0] == 204
    assert agent.row.cleanliness == "dirty"
    assert agent.poll(running.port, wait=20, clean=True)[0] == 200


def test_an_expired_lease_frees_its_job(running: SchedulerProcess, project: Project) -> None:
    agent, job = Agent.enrol(), make_job(project)
    lease = agent.poll(running.port, wait=20)[1]
    Lease.objects.filter(pk=lease["id"]).update(deadline_at=now() - timedelta(seconds=1))
    eventually(lambda: state(job) == JobState.WAITING)
    expired = Lease.objects.get(pk=lease["id"])
    assert expired.outcome == "expired"
    assert "b1 did not renew it" in expired.reason
    assert agent.row.running == 0
    status, again = Agent.enrol("b2").poll(running.port, wait=20)
    assert (status, again["job"]) == (200, job.pk)


def test_a_job_that_is_lost_too_often_fails(running: SchedulerProcess, project: Project) -> None:
    agent, job = Agent.enrol(), make_job(project)
    for _ in range(3):
        assert agent.poll(running.port, wait=20)[0] == 200
    assert agent.poll(running.port)[0] == 204
    job.refresh_from_db()
    assert (job.state, job.attempts) == (JobState.FAILED, 3)
    assert "attempt 3 of 3: b1 came back without it" in job.state_reason


def test_a_cancelled_job_is_not_given(running: SchedulerProcess, project: Project) -> None:
    agent, job = Agent.enrol(), make_job(project)
    job.cancel(who="user:anna", now=now())
    assert agent.poll(running.port, wait=0.5)[0] == 204
    job.retry(who="user:anna")
    assert agent.poll(running.port, wait=20)[1]["job"] == job.pk


def test_an_old_generation_and_a_stranger_are_told_why(running: SchedulerProcess) -> None:
    old = Agent.enrol()
    new = Agent.enrol()
    status, problem = old.poll(running.port)
    assert status == 410
    assert "generation 1 of b1 is over; it is at 2 now" in problem["detail"]
    status, problem = new.poll(running.port, generation=1)
    assert (status, problem["type"]) == (410, "urn:commonfarm:problem:generation-over")
    new.credential = "cf_builder_of_nobody"
    status, problem = new.poll(running.port)
    assert (status, problem["type"]) == (401, "urn:commonfarm:problem:credential-unknown")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"[]", 422),
        (b'{"generation": 1}', 422),
        (b'{"generation": 99999999999999999999}', 422),
        (b"\xff\xfe\0", 422),
        (b"x" * 300_000, 413),
    ],
)
def test_odd_requests_are_refused(running: SchedulerProcess, body: bytes, status: int) -> None:
    agent = Agent.enrol()
    url = f"http://127.0.0.1:{running.port}/lease"
    assert post(url, body, agent.credential)[0] == status
    assert agent.poll(running.port)[0] == 204


@pytest.mark.parametrize(
    "change",
    [{"generation": 2**70}, {"generation": -1}, {"holding": [2**80]}, {"wait_seconds": "x"}],
)
def test_odd_values_are_refused(running: SchedulerProcess, change: dict[str, Any]) -> None:
    assert Agent.enrol().poll(running.port, **change)[0] == 422


def test_facts_that_cannot_be_are_refused(running: SchedulerProcess) -> None:
    agent = Agent.enrol()
    changes: list[dict[str, Any]] = [
        {"memory_bytes": 2**80},
        {"features": ["a\0b"]},
        {"protocol": 99},
    ]
    for change in changes:
        agent.facts = facts(**change)
        assert agent.poll(running.port)[0] == 422


def test_a_client_that_goes_away_leaves_the_job_in_line(
    running: SchedulerProcess, project: Project
) -> None:
    gone, agent = Agent.enrol("gone"), Agent.enrol("here")
    seen = gone.row.last_seen_at
    body = json.dumps(asdict(LeaseRequest(1, gone.facts, True, wait_seconds=30))).encode()
    head = (
        f"POST /lease HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {gone.credential}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", running.port)) as connected:
        connected.sendall(head.encode() + body)
        eventually(lambda: gone.row.last_seen_at != seen)
        its_end = f" 0100007F:{running.port:04X} 0100007F:{connected.getsockname()[1]:04X} "
    eventually(lambda: its_end not in Path("/proc/net/tcp").read_text())
    job = make_job(project)
    assert agent.poll(running.port, wait=20)[1]["job"] == job.pk
    assert Lease.objects.filter(builder__name="gone").count() == 0


def test_of_two_schedulers_one_is_active_and_the_other_follows(
    running: SchedulerProcess, project: Project, tmp_path: Path
) -> None:
    agent = Agent.enrol()
    with scheduler(tmp_path) as second:
        assert second.health() == {"active": False}
        status, problem = agent.poll(second.port)
        assert (status, problem["type"]) == (503, "urn:commonfarm:problem:scheduler-not-active")
        first_epoch = running.health()["epoch"]
        running.signal(signal.SIGKILL)
        assert second.until_active()["epoch"] == first_epoch + 1
        job = make_job(project)
        assert agent.poll(second.port, wait=20)[1]["job"] == job.pk


def test_one_that_was_deposed_gives_out_nothing(
    running: SchedulerProcess, project: Project
) -> None:
    agent, epoch = Agent.enrol(), running.health()["epoch"]
    SchedulerEpoch.objects.update(epoch=epoch + 7, holder="another")
    job = make_job(project)
    assert agent.poll(running.port, wait=20)[0] == 503
    assert Lease.objects.count() == 0
    assert state(job) == JobState.WAITING
    eventually(lambda: running.health().get("epoch", 0) > epoch + 7)
    assert agent.poll(running.port, wait=20)[1]["job"] == job.pk


def test_it_comes_back_after_its_connections_are_cut(
    running: SchedulerProcess, project: Project
) -> None:
    agent, epoch = Agent.enrol(), running.health()["epoch"]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE application_name = 'commonfarm scheduler'"
        )
        assert cursor.fetchone()[0] >= 1
    eventually(lambda: running.health().get("epoch", 0) > epoch)
    job = make_job(project)
    assert agent.poll(running.port, wait=20)[1]["job"] == job.pk


def test_killed_in_the_middle_of_many_polls_it_loses_and_doubles_nothing(
    running: SchedulerProcess, project: Project
) -> None:
    agents = [Agent.enrol(f"b{number}") for number in range(8)]
    jobs = [make_job(project) for _ in range(60)]

    def work(agent: Agent) -> list[int]:
        done: list[int] = []
        while True:
            try:
                status, lease = agent.poll(running.port, wait=2)
            except OSError:
                time.sleep(0.05)
                continue
            if status == 503:
                time.sleep(0.05)
                continue
            if status == 204:
                return done
            done.append(lease["job"])
            # As a report would end it; the agent then polls without holding anything.
            from django.db import connections, transaction

            from commonfarm.farm import leases

            with transaction.atomic():
                row = leases.lock(lease["id"])
                row.end("succeeded", "", now())
                row.job.end(JobState.SUCCEEDED, "", who=agent.name, now=now())
            connections.close_all()

    with ThreadPoolExecutor(len(agents)) as pool:
        working = [pool.submit(work, agent) for agent in agents]
        for _ in range(3):
            time.sleep(0.4)
            running.signal(signal.SIGKILL)
            running.start()
        done = [job for one in working for job in one.result(60)]
    assert sorted(done) == sorted(job.pk for job in jobs)
    assert not Lease.objects.filter(ended_at=None).exists()
    assert Job.objects.filter(state=JobState.SUCCEEDED).count() == len(jobs)


def test_it_stops_when_asked_and_sends_those_who_wait_away(running: SchedulerProcess) -> None:
    with waiting(Agent.enrol(), running.port, 30.0) as asked:
        assert running.signal(signal.SIGTERM) == 0, running.log()
        assert asked.result()[0] == 503
