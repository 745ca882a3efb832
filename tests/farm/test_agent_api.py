"""What agents send to the hub, and what they are refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from psycopg.rows import dict_row

from commonfarm.agent.protocol import CHUNK_BYTES, EnrolRequest, Report
from commonfarm.agent.protocol import SourceFile as File
from commonfarm.estate.interface import Pool, Project
from commonfarm.farm import leases, reports
from commonfarm.farm.models import Job, JobState, Lease
from commonfarm.fleet.interface import make_enrolment_token
from commonfarm.store.interface import read
from tests.farm.world import Agent, facts, make_job, make_project, make_source, make_target, now

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(make_target(tmp_path / "keyring.gpg"))


@dataclass(slots=True)
class AtWork:
    """An agent that holds a lease, speaking to the hub's API."""

    agent: Agent
    job: Job
    lease: Lease
    client: Client

    @classmethod
    def on(cls, project: Project, name: str = "b1") -> AtWork:
        agent, job = Agent.enrol(name), make_job(project)
        return cls(agent, job, give(agent, job), Client())

    def call(
        self,
        method: str,
        path: str,
        data: bytes | str = b"",
        lease: int | None = None,
        **headers: str,
    ) -> tuple[int, Any]:
        response = self.client.generic(
            method,
            f"/api/v1/agent/leases/{lease or self.lease.pk}/{path}",
            data,
            headers={"Authorization": f"Bearer {self.agent.credential}", **headers},
        )
        if response.streaming:
            return response.status_code, b"".join(response.streaming_content)  # type: ignore[attr-defined]
        return response.status_code, json.loads(response.content or b"null")

    def upload(self, data: bytes, name: str = "greeting_1.0_amd64.log") -> File:
        file = File(name, len(data), hashlib.sha256(data).hexdigest())
        assert self.call("POST", "uploads", json.dumps(asdict(file)))[0] == 200
        status, answer = self.call("PUT", f"uploads/{file.sha256}?offset=0", data)
        assert (status, answer) == (200, {"received": len(data)})
        return file

    def report(self, outcome: str = "succeeded", **changed: Any) -> tuple[int, Any]:
        report = Report(
            self.agent.generation, outcome, "build", "", facts={"limits": {"time": "watchdog"}}
        )
        return self.call("POST", "report", json.dumps(asdict(replace(report, **changed))))

    def refresh(self) -> AtWork:
        self.job.refresh_from_db()
        self.lease.refresh_from_db()
        return self


def give(agent: Agent, job: Job) -> Lease:
    """Lease the job as the scheduler does, with its own statements."""
    import asyncio

    from django.db import connection
    from psycopg import AsyncConnection

    from commonfarm.agent.protocol import LeaseRequest
    from commonfarm.farm import ledger
    from commonfarm.lib.ids import hash_token

    settings = connection.settings_dict

    async def commit() -> int:
        async with await AsyncConnection.connect(
            host=settings["HOST"], port=settings["PORT"], dbname=settings["NAME"],
            user=settings["USER"], row_factory=dict_row, autocommit=True,
        ) as opened:  # fmt: skip
            epoch = await ledger.begin_epoch(opened, "test", now())
            asked = LeaseRequest(agent.generation, agent.facts, clean=True)
            heard = await ledger.hear(opened, hash_token(agent.credential), asked, now())
            assert heard is not None
            (waiting,) = await ledger.waiting(opened, [job.pk])
            (lease,) = await ledger.commit(opened, epoch, [ledger.Grant(waiting, heard)], now())
            assert not isinstance(lease, ledger.Refused)
            return lease.id

    return Lease.objects.get(pk=asyncio.run(commit()))


def test_a_token_buys_a_credential_once(db: None) -> None:
    pool = Pool.objects.create(name="local", architecture="amd64")
    token = make_enrolment_token(pool, who="user:anna", now=now()).reveal()
    body = json.dumps(asdict(EnrolRequest(token, "b1", facts())))

    def enrol() -> Any:
        return Client().post("/api/v1/agent/enrol", body, content_type="application/json")

    first, second = enrol(), enrol()
    assert first.status_code == 200
    assert first.json()["builder"] == "b1"
    assert first.json()["credential"].startswith("cf_builder_")
    assert second.status_code == 409
    assert second.json()["type"] == "urn:commonfarm:problem:token-used"


def test_a_renewed_lease_lives_on_and_hears_of_a_cancel(project: Project) -> None:
    work = AtWork.on(project)
    Lease.objects.update(deadline_at=now() - timedelta(seconds=1))
    status, answer = work.call("POST", "renew", "{}")
    assert (status, answer["cancel"]) == (200, "")
    assert work.refresh().lease.deadline_at > now() + timedelta(seconds=100)
    assert leases.sweep(now()) == 0
    work.job.cancel(who="user:anna", now=now())
    assert work.call("POST", "renew", "{}")[1]["cancel"] == "user:anna asked to cancel it"
    assert work.report("cancelled")[0] == 200
    assert work.refresh().job.state == JobState.CANCELLED


def test_only_the_own_files_of_the_job_are_handed_out(project: Project) -> None:
    work = AtWork.on(project)
    for file in work.job.build.source.files.all():
        data = read(file.blob_id)
        assert work.call("GET", f"files/{file.blob_id}") == (200, data)
        assert work.call("GET", f"files/{file.blob_id}", Range="bytes=3-") == (206, data[3:])
        assert work.call("GET", f"files/{file.blob_id}", Range="bytes=1-2") == (206, data[1:3])
        assert work.call("GET", f"files/{file.blob_id}", Range="bytes=999-")[0] == 416
    other = make_source("other").dsc.sha256
    assert work.call("GET", f"files/{other}")[0] == 404
    assert work.call("GET", "files/../../etc/passwd")[0] in (404, 422)


def test_uploads_resume_and_lies_are_refused(project: Project) -> None:
    work = AtWork.on(project)
    data = b"x" * (CHUNK_BYTES + 10)
    sha = hashlib.sha256(data).hexdigest()
    announced = json.dumps({"name": "a.deb", "size": len(data), "sha256": sha})
    assert work.call("POST", "uploads", announced) == (200, {"received": 0})
    status, answer = work.call("PUT", f"uploads/{sha}?offset=0", data[:CHUNK_BYTES])
    assert (status, answer) == (200, {"received": CHUNK_BYTES})
    assert work.call("POST", "uploads", announced) == (200, {"received": CHUNK_BYTES})
    status, problem = work.call("PUT", f"uploads/{sha}?offset={CHUNK_BYTES + 5}", b"xxxxx")
    assert (status, problem["received"]) == (409, CHUNK_BYTES)
    status, problem = work.call("PUT", f"uploads/{sha}?offset={CHUNK_BYTES}", b"y" * 10)
    assert (status, problem["type"]) == (422, "urn:commonfarm:problem:upload-lies")
    assert work.call("PUT", f"uploads/{sha}?offset=0", b"x" * (CHUNK_BYTES + 1))[0] == 422


def test_an_artifact_nobody_was_leased_to_build_is_refused(project: Project) -> None:
    mine, theirs = AtWork.on(project), AtWork.on(project, "b2")
    data = b"some bytes"
    file = theirs.upload(data)
    status, problem = mine.report(artifacts=[file])
    assert status == 422
    assert "was not uploaded under this lease" in problem["problems"][0]["what"]
    assert mine.refresh().job.state == JobState.LEASED
    assert mine.call("POST", "renew", "{}", lease=theirs.lease.pk)[0] == 404
    assert mine.call("PUT", f"uploads/{file.sha256}?offset=0", data)[0] == 404
    lying = replace(theirs.upload(data), size=3)
    assert "has 10 bytes, not 3" in theirs.report(artifacts=[lying])[1]["problems"][0]["what"]


def test_a_failed_build_is_over_and_a_broken_builder_is_not_its_fault(project: Project) -> None:
    work = AtWork.on(project)
    assert work.report("failed", reason="a test failed")[0] == 200
    job = work.refresh().job
    assert (job.state, job.state_reason) == (JobState.FAILED, "failed in build: a test failed")
    assert (work.agent.row.running, work.agent.row.cleanliness) == (0, "dirty")
    assert work.lease.facts == {"limits": {"time": "watchdog"}}

    broken = AtWork.on(project, "b2")
    assert broken.report("broken", stage="root", reason="no mirror answers")[0] == 200
    job = broken.refresh().job
    assert (job.state, job.attempts) == (JobState.WAITING, 1)
    assert job.state_reason == "attempt 1 of 3: no mirror answers"


def test_a_report_that_is_sent_twice_counts_once(project: Project) -> None:
    work = AtWork.on(project)
    assert work.report("broken", stage="root", reason="x")[0] == 200
    assert work.report("broken", stage="root", reason="x")[0] == 200
    assert work.refresh().job.attempts == 1
    status, problem = work.report("succeeded")
    assert (status, problem["type"]) == (410, "urn:commonfarm:problem:lease-over")


def test_a_late_report_is_refused_with_the_reason(project: Project) -> None:
    work = AtWork.on(project)
    assert leases.sweep(now() + timedelta(hours=1)) == 1
    status, problem = work.report("succeeded")
    assert status == 410
    assert f"lease {work.lease.pk} is over: expired (b1 did not renew it" in problem["detail"]
    assert work.call("POST", "renew", "{}")[0] == 410
    assert work.refresh().job.state == JobState.WAITING
    assert leases.sweep(now() + timedelta(hours=1)) == 0


def test_a_builder_of_an_old_generation_is_refused(project: Project) -> None:
    work = AtWork.on(project)
    renewed = Agent.enrol("b1")
    assert work.refresh().job.state == JobState.WAITING
    assert work.lease.outcome == "lost"
    for path in ("renew", "report"):
        status, problem = work.call("POST", path, "{}")
        assert (status, problem["type"]) == (410, "urn:commonfarm:problem:generation-over")
    work.agent = renewed
    assert work.report()[0] == 410
    assert renewed.row.running == 0


def test_a_stranger_is_refused(project: Project) -> None:
    work = AtWork.on(project)
    work.agent.credential = "cf_builder_unknown"
    assert work.call("POST", "renew", "{}")[0] == 401


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "{}",
        '{"generation": 1, "outcome": "won", "stage": "build", "reason": ""}',
        '{"generation": 1, "outcome": "failed", "stage": "x", "reason": ""}',
        '{"generation": 1, "outcome": "failed", "stage": "build", "reason": 7}',
        '{"generation": 1, "outcome": "failed", "stage": "root", "reason": "", "facts": [1e999]}',
        "[" * 100_000,
        (
            '{"generation": 1, "outcome": "failed", "stage": "build", "reason": "",'
            ' "artifacts": [{"name": "../x", "size": 1, "sha256": "00"}]}'
        ),
    ],
)
def test_odd_reports_are_refused(project: Project, body: str) -> None:
    work = AtWork.on(project)
    assert work.call("POST", "report", body)[0] == 422
    assert work.refresh().job.state == JobState.LEASED


def test_facts_that_no_provenance_can_tell_break_the_lease(project: Project) -> None:
    work = AtWork.on(project)
    file = work.upload(b"x")
    for _ in range(2):
        status, problem = work.report(artifacts=[file], facts={"base_root": [1]})
        assert status == 422
        assert problem["problems"][0]["file"] == "facts.base_root"
    job = work.refresh().job
    assert (job.state, job.attempts, job.results) == (JobState.WAITING, 1, [])
    assert "attempt 1 of 3: what the builder says of the build: facts.base_root" in job.state_reason
    assert (work.lease.outcome, work.lease.facts) == ("broken", {})


def test_facts_are_checked_for_shape_and_size() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"base_root": {"digest": 1}}, "facts.base_root.digest: "),
        ({"packages": 5}, "facts.packages: "),
        ({"packages": [{"name": "gcc"}]}, "facts.packages.0: "),
        ({"limits": ["memory"]}, "facts.limits: "),
        ({"x": json.loads("[" * 50 + "]" * 50)}, "facts: they have more than 8 levels"),
        ({"packages": ["x" * 1024] * 1024}, "facts: they have 1052686 bytes of JSON, more than"),
    ]
    for said, says in cases:
        assert str(reports.fault_of(said)).startswith(says)
    assert reports.fault_of({"seconds": {"root": 1.5}, "sources": [{"components": ["a"]}]}) is None


def test_what_a_build_printed_cannot_spoil_its_report(project: Project) -> None:
    work = AtWork.on(project)
    reason = "half a \udc80 character, a \0 and the literal \\u0000, " + "x" * 5000
    facts = {"a\0b": ["\ud800", float("nan")]}
    assert work.report("failed", reason=reason, facts=facts) == (200, {})
    job = work.refresh().job
    assert job.state == JobState.FAILED
    assert "half a ? character, a \ufffd and the literal" in job.state_reason
    assert len(work.lease.reason) == 2000
    assert work.lease.facts == {"a\ufffdb": ["?", None]}


def test_freed_too_often_a_job_fails(project: Project) -> None:
    agent, job = Agent.enrol(), make_job(project)
    for _ in range(3):
        lease = give(agent, job)
        agent.row.mark_clean(agent.generation)
        assert leases.free(lease.pk, "expired", "gone", who="process:scheduler", now=now())
        agent.row.mark_clean(agent.generation)
    job.refresh_from_db()
    assert (job.state, job.state_reason) == (JobState.FAILED, "attempt 3 of 3: gone")
    job.retry(who="user:anna")
    assert (job.state, job.attempts) == (JobState.WAITING, 0)
