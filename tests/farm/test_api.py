"""What people and their command line do over the API: upload, submit, look, cancel, retry."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.estate.interface import Project
from commonfarm.farm.models import Build, Job, JobState, Source
from commonfarm.journal.models import Entry
from tests.farm.packages import Signer, files_of, make_source
from tests.farm.world import Agent, make_job, make_project, make_target, now

pytestmark = pytest.mark.django_db


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(make_target(tmp_path / "keyring.gpg"))


class Caller:
    """A user with a token."""

    def __init__(self, role: Role, name: str = "anna") -> None:
        user = User.add(name, role, who="test")
        token = ApiToken.make(user, "test", who="test").reveal()
        self.client = Client(headers={"Authorization": f"Bearer {token}"})

    def get(self, path: str, **query: Any) -> tuple[int, Any]:
        response = self.client.get(f"/api/v1/farm{path}", query)
        return response.status_code, response.json()

    def post(self, path: str, body: Any = None) -> tuple[int, Any]:
        response = self.client.post(
            f"/api/v1/farm{path}", json.dumps(body), content_type="application/json"
        )
        return response.status_code, response.json()

    def upload(self, path: Path) -> dict[str, Any]:
        data = path.read_bytes()
        sha256 = hashlib.sha256(data).hexdigest()
        announced = self.client.post(
            "/api/v1/store/uploads",
            json.dumps({"size": len(data), "sha256": sha256}),
            content_type="application/json",
        )
        assert announced.status_code == 200
        response = self.client.put(
            f"/api/v1/store/uploads/{sha256}?offset=0",
            data,
            content_type="application/octet-stream",
        )
        assert response.json() == {"received": len(data)}
        return {"name": path.name, "size": len(data), "sha256": sha256}

    def submit(self, package: Path, **changed: Any) -> tuple[int, Any]:
        body = {
            "project": "demo",
            "dsc": self.upload(package)["sha256"],
            "files": [self.upload(path) for path in files_of(package).values()],
        }
        return self.post("/builds", body | changed)


def test_a_source_package_becomes_a_build(project: Project, tmp_path: Path) -> None:
    anna = Caller(Role.SUBMITTER)
    dsc = make_source(tmp_path)
    status, build = anna.submit(dsc, targets=["bookworm-amd64"])
    assert status == 201
    assert (build["source"], build["version"], build["state"]) == ("greeting", "1.0-1", "waiting")
    assert [job["target"] for job in build["jobs"]] == ["bookworm-amd64"]
    source = Source.objects.get()
    assert sorted(source.files.values_list("name", flat=True)) == sorted([dsc.name, *files_of(dsc)])
    assert anna.get(f"/builds/{build['id']}") == (200, build)
    assert anna.get("/builds")[1]["items"] == [build]
    event = Entry.objects.get(what="build submitted")
    assert (event.who, event.subject) == ("user:anna", f"build:{build['id']}")
    # The same again is another build of the same source.
    status, again = anna.submit(dsc)
    assert status == 201
    assert again["id"] != build["id"]
    assert Source.objects.count() == 1


def test_two_posts_with_one_key_are_one_build(project: Project, tmp_path: Path) -> None:
    anna = Caller(Role.SUBMITTER)
    dsc = make_source(tmp_path)
    body: dict[str, Any] = {
        "project": "demo",
        "dsc": anna.upload(dsc)["sha256"],
        "files": [anna.upload(path) for path in files_of(dsc).values()],
    }
    anna.client.defaults["HTTP_IDEMPOTENCY_KEY"] = "k1"
    assert anna.post("/builds", body) == anna.post("/builds", body)
    assert Build.objects.count() == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"project": "nonesuch"}, "no project 'nonesuch'"),
        ({"targets": ["nonesuch"]}, "'nonesuch' is not a target of demo"),
        ({"dsc": "0" * 64}, "was not uploaded by you"),
        ({"files": []}, "is named here but was not brought"),
        ({"project": "a\0b"}, "does not fit"),
        ({"needs": {"memory_bytes": 2**80}}, "does not fit"),
        ({"targets": "x"}, "does not fit"),
    ],
)
def test_odd_builds_are_refused(
    project: Project, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    status, problem = Caller(Role.SUBMITTER).submit(make_source(tmp_path), **change)
    assert status in (404, 422)
    assert told in json.dumps(problem).replace("\\u0027", "'")
    assert Build.objects.count() == 0


def test_what_somebody_else_uploaded_cannot_be_submitted(project: Project, tmp_path: Path) -> None:
    dsc = make_source(tmp_path)
    anna, ben = Caller(Role.SUBMITTER), Caller(Role.SUBMITTER, "ben")
    body = {"project": "demo", "dsc": anna.upload(dsc)["sha256"], "files": []}
    status, problem = ben.post("/builds", body)
    assert status == 422
    assert "was not uploaded by you" in problem["problems"][0]["what"]


def test_a_file_that_differs_from_its_checksum_is_named(project: Project, tmp_path: Path) -> None:
    anna, dsc = Caller(Role.SUBMITTER), make_source(tmp_path)
    orig = tmp_path / "greeting_1.0.orig.tar.gz"
    orig.write_bytes(orig.read_bytes()[:-1] + b"!")
    status, problem = anna.submit(dsc)
    assert status == 422
    (one,) = problem["problems"]
    assert one["file"] == dsc.name
    assert one["line"] > 0
    assert "has the SHA-256" in one["what"]
    assert Source.objects.count() == 0


def test_where_a_signature_is_demanded_it_has_to_be_there(tmp_path: Path) -> None:
    signer = Signer.make(tmp_path / "gpg")
    target = make_target(tmp_path / "unused", signed_sources_only=True)
    target.keyring = str(signer.keyring)
    target.save()
    make_project(target)
    anna, dsc = Caller(Role.SUBMITTER), make_source(tmp_path / "source")
    status, problem = anna.submit(dsc)
    assert status == 422
    assert "not signed, and the target demands it" in problem["problems"][0]["what"]
    dsc.write_bytes(signer.sign(dsc))
    status, build = anna.submit(dsc)
    assert (status, build["signed_by"]) == (201, signer.fingerprint)


def test_a_source_for_other_architectures_is_refused(tmp_path: Path) -> None:
    make_project(make_target(tmp_path / "k1", "bookworm-amd64"))
    dsc = make_source(tmp_path)
    dsc.write_text(dsc.read_text().replace("Architecture: any", "Architecture: arm64"))
    status, problem = Caller(Role.SUBMITTER).submit(dsc)
    assert status == 422
    assert "builds on arm64, and bookworm-amd64 is amd64" in problem["problems"][0]["what"]


def test_who_may_not_is_told(project: Project) -> None:
    job, reader = make_job(project), Caller(Role.READER)
    assert reader.get("/builds")[0] == 200
    for path in ("store/uploads", "farm/builds"):
        body = {"size": 1, "sha256": "0" * 64, "project": "demo", "dsc": "0" * 64, "files": []}
        answer = reader.client.post(f"/api/v1/{path}", body, content_type="application/json")
        assert answer.status_code == 403
    for verb in ("cancel", "retry"):
        assert reader.post(f"/jobs/{job.pk}/{verb}")[0] == 403
    assert Client().get("/api/v1/farm/builds").status_code == 401


def test_a_waiting_job_is_cancelled_and_tried_again(project: Project) -> None:
    job, anna = make_job(project), Caller(Role.SUBMITTER)
    status, problem = anna.post(f"/jobs/{job.pk}/retry")
    assert (status, problem["type"]) == (409, "urn:commonfarm:problem:cannot-retry")
    status, shown = anna.post(f"/jobs/{job.pk}/cancel")
    assert (status, shown["state"], shown["state_reason"]) == (
        200,
        "cancelled",
        "cancelled by user:anna",
    )
    assert anna.post(f"/jobs/{job.pk}/cancel")[0] == 409
    assert anna.post(f"/jobs/{job.pk}/retry")[1]["state"] == JobState.WAITING
    told = Entry.objects.filter(subject=f"job:{job.pk}").order_by("id")
    assert [entry.what for entry in told] == ["job ended", "job retried"]


def test_a_job_says_why_it_waits(project: Project, tmp_path: Path) -> None:
    job, anna = make_job(project), Caller(Role.READER)

    def codes() -> list[str]:
        return [one["code"] for one in anna.get(f"/jobs/{job.pk}/explain")[1]["reasons"]]

    assert codes() == ["no-scheduler", "no-builder"]
    builder = Agent.enrol().row
    assert codes()[-1] == "next-poll"
    builder.cordon("its disk fails", who="user:anna", now=now())
    assert codes()[-1] == "all-cordoned"
    (tmp_path / "keyring.gpg").unlink()
    assert codes()[0] == "no-keyring"
    Job.objects.update(state=JobState.FAILED)
    assert codes() == []


def test_logs_are_read_in_whole_characters(project: Project, tmp_path: Path) -> None:
    from commonfarm.farm import log

    euro = "€".encode()
    assert log.whole_characters(b"a" + euro[:2]) == b"a"
    assert log.whole_characters(b"a" + euro) == b"a" + euro
    assert log.whole_characters("é".encode()[:1]) == b""
    assert log.whole_characters(b"\x80\x80\x80\x80\x80") == b"\x80\x80\x80\x80\x80"
    assert log.whole_characters(b"") == b""
    job, anna = make_job(project), Caller(Role.READER)
    nothing = {"lease": None, "offset": 0, "next": 0, "complete": False, "text": ""}
    assert anna.get(f"/jobs/{job.pk}/log") == (200, nothing)


@pytest.mark.parametrize("number", ["0", "-1", "x", str(2**63), str(2**70)])
def test_odd_numbers_are_refused(project: Project, number: str) -> None:
    anna = Caller(Role.ADMIN)
    for path in (f"/builds/{number}", f"/jobs/{number}", f"/jobs/{number}/log"):
        assert anna.client.get(f"/api/v1/farm{path}").status_code in (404, 422)


def test_pages_show_builds_jobs_and_reasons(project: Project) -> None:
    job = make_job(project)
    user = User.add("anna", Role.SUBMITTER, who="test")
    client = Client()
    assert client.get("/builds/").status_code == 302
    client.force_login(user)
    assert "greeting 1.0" in client.get("/builds/").content.decode()
    assert "greeting 1.0" in client.get("/builds/?source=greeting&after=999").content.decode()
    assert "No builds yet" in client.get("/builds/?source=a%00b&after=x").content.decode()
    assert f"Build {job.build_id}" in client.get(f"/builds/{job.build_id}").content.decode()
    page = client.get(f"/jobs/{job.pk}").content.decode()
    assert "no builder of amd64" in page
    assert client.post(f"/jobs/{job.pk}/cancel").status_code == 302
    assert "cancelled by user:anna" in client.get(f"/jobs/{job.pk}").content.decode()
    assert client.get(f"/jobs/{2**70}").status_code == 404
    assert client.get(f"/builds/{2**70}").status_code == 404
    reader = Client()
    reader.force_login(User.add("rita", Role.READER, who="test"))
    assert reader.post(f"/jobs/{job.pk}/retry").status_code == 403
    assert "Try again" not in reader.get(f"/jobs/{job.pk}").content.decode()
