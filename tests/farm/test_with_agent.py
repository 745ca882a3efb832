"""The agent's own client against the hub and the scheduler: both sides mean the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from django.db import transaction
from pytest_django.live_server_helper import LiveServer

from commonfarm.agent.errors import HubRefusedError, LeaseOverError
from commonfarm.agent.hub import GapError, Hub
from commonfarm.agent.protocol import (
    CHUNK_BYTES,
    EnrolRequest,
    LeaseRequest,
    Report,
    SourceFile,
)
from commonfarm.estate.interface import Pool
from commonfarm.farm import log
from commonfarm.farm.models import Job, JobState, Lease, Source
from commonfarm.fleet.interface import make_enrolment_token
from commonfarm.store.interface import read
from tests.farm.world import Agent, facts, make_job, make_project, make_target, now, scheduler

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_job_from_enrolment_to_report(live_server: LiveServer, tmp_path: Path) -> None:
    job = make_job(make_project(make_target(tmp_path / "keyring.gpg")))
    pool = Pool.objects.create(name="local", architecture="amd64")
    token = make_enrolment_token(pool, who="user:anna", now=now()).reveal()
    enrolled = Hub(live_server.url).enrol(EnrolRequest(token, "b1", facts()))
    with pytest.raises(HubRefusedError, match="was used"):
        Hub(live_server.url).enrol(EnrolRequest(token, "b1", facts()))
    hub = Hub(live_server.url, enrolled.credential)
    asking = LeaseRequest(enrolled.generation, facts(), clean=True, wait_seconds=5)
    with scheduler(tmp_path) as running:
        running.until_active()
        lease = hub.lease(f"http://127.0.0.1:{running.port}", asking)
        assert lease is not None
        assert lease.job == job.pk
        for file in lease.files:
            hub.fetch(lease.id, file, tmp_path, 5)
            assert hashlib.sha256((tmp_path / file.name).read_bytes()).hexdigest() == file.sha256
        assert hub.renew(lease.id).cancel == ""
        assert hub.send_log(lease.id, 0, b"building\n").received == 9
        with pytest.raises(GapError) as gap:
            hub.send_log(lease.id, 99, b"x")
        assert gap.value.received == 9
        built = tmp_path / "greeting.buildinfo"
        built.write_bytes(b"x" * (CHUNK_BYTES + 7))
        empty = tmp_path / "empty"
        empty.write_bytes(b"")
        files = []
        for path in (built, empty):
            data = path.read_bytes()
            files.append(SourceFile(path.name, len(data), hashlib.sha256(data).hexdigest()))
            hub.upload(lease.id, files[-1], path, 5)
            assert read(files[-1].sha256) == data
        report = Report(enrolled.generation, "succeeded", "upload", "", files, 9)
        hub.report(lease.id, report, 5)
        hub.report(lease.id, report, 5)
        assert Job.objects.get(pk=job.pk).state == JobState.SUCCEEDED
        assert log.read_log(Lease.objects.get(), 0) == log.LogPart(0, b"building\n", True)
        with pytest.raises(LeaseOverError, match="is over: succeeded"):
            hub.renew(lease.id)
        Hub(live_server.url).enrol(
            EnrolRequest(
                make_enrolment_token(pool, who="user:anna", now=now()).reveal(), "b1", facts()
            )
        )
        with pytest.raises(LeaseOverError, match="generation 1 of b1 is over"):
            hub.lease(f"http://127.0.0.1:{running.port}", asking)
        with pytest.raises(LeaseOverError, match="generation 1 of b1 is over"):
            hub.renew(lease.id)


@pytest.mark.parametrize(
    ("built_for", "rebuilt"),
    [
        ("all", "binary"),
        ("any", "any"),
        ("any all", "any"),
        ("linux-any all", "any"),
        ("all hurd-any", "binary"),
        ("all arm64", "binary"),
    ],
)
def test_a_rebuild_makes_what_depends_on_the_architecture_or_else_all(
    live_server: LiveServer, tmp_path: Path, built_for: str, rebuilt: str
) -> None:
    first = make_job(make_project(make_target(tmp_path / "keyring.gpg")))
    Source.objects.update(control={"Architecture": built_for})
    with transaction.atomic():
        first.rebuild("its bytes differ", who="user:anna")
    with scheduler(tmp_path) as running:
        running.until_active()
        given = []
        for agent in (Agent.enrol("b1"), Agent.enrol("b2")):
            asking = LeaseRequest(agent.generation, agent.facts, clean=True, wait_seconds=20)
            hub = Hub(live_server.url, agent.credential)
            lease = hub.lease(f"http://127.0.0.1:{running.port}", asking)
            assert lease is not None
            given.append((lease.rebuild_suffix, lease.build))
    assert given == [(None, "binary"), (1, rebuilt)]
