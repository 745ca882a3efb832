"""A report that brings packages: real .deb files on their way into the archive."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from commonfarm.archive.interface import Artifact, publication_of
from commonfarm.estate.interface import Project
from commonfarm.farm.models import Job, JobState
from commonfarm.farm.vouching import vouch
from commonfarm.journal.models import Entry
from tests.farm.test_agent_api import AtWork
from tests.farm.world import make_project, make_target

pytestmark = pytest.mark.django_db(transaction=True)

NAME = "greeting_1.0_amd64.deb"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(make_target(tmp_path / "keyring.gpg"))


def make_deb(folder: Path, text: str, version: str = "1.0") -> bytes:
    """Build the binary package `greeting`, whose only file says `text`."""
    root = folder / f"root-{version}-{len(text)}"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: greeting\nVersion: {version}\nArchitecture: amd64\n"
        "Maintainer: Anna Tester <anna@example.org>\nDescription: says hello\n"
    )
    (root / "greeting.txt").write_text(text)
    out = root.with_suffix(".deb")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", root, out],
        check=True,
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "SOURCE_DATE_EPOCH": "1700000000"},
    )
    return out.read_bytes()


def test_packages_are_added_once_and_never_replaced(project: Project, tmp_path: Path) -> None:
    first = AtWork.on(project)
    deb = make_deb(tmp_path, "hello")
    files = [first.upload(deb, NAME), first.upload(b"a buildinfo", "greeting_1.0_amd64.buildinfo")]
    assert first.report(artifacts=files)[0] == 200
    job = first.refresh().job
    assert job.state == JobState.SUCCEEDED
    assert {one["filename"]: one["verdict"] for one in job.results} == {
        NAME: "added",
        "greeting_1.0_amd64.buildinfo": "kept",
    }
    assert publication_of(job.label) is not None
    true = [(job.label, file.sha256) for file in files]
    false = [(job.label, "0" * 64), ("job:999", files[0].sha256), ("user:anna", files[0].sha256)]
    refused = vouch([*true, *false])
    assert {claim: reason.code for claim, reason in refused.items()} == {
        false[0]: "not-built-by-it",
        false[1]: "no-such-success",
        false[2]: "no-such-success",
    }
    facts = Artifact.objects.get(producer=job.label, filename=NAME).statement
    assert facts["builder"] == "builder:b1@1"
    assert facts["source"]["name"] == "greeting"
    assert facts["agent"] == {"limits": {"time": "watchdog"}}

    same = AtWork.on(project, "b2")
    assert same.report(artifacts=[same.upload(deb, NAME)])[0] == 200
    assert [one["verdict"] for one in same.refresh().job.results] == ["identical"]

    other = AtWork.on(project, "b3")
    changed = make_deb(tmp_path, "hello, changed")
    assert other.report(artifacts=[other.upload(changed, NAME)])[0] == 200
    assert other.refresh().job.state == JobState.SUCCEEDED
    assert [one["verdict"] for one in other.job.results] == ["differs"]
    rebuild = Job.objects.get(build=other.job.build, rebuild_suffix=1)
    assert rebuild.state == JobState.WAITING
    assert f"{NAME}: published before with other bytes" in rebuild.state_reason
    told = Entry.objects.get(what="rebuild queued")
    assert told.details == {"instead_of": other.job.pk, "rebuild_suffix": 1}
    # The same report again makes no second rebuild.
    assert other.report(artifacts=[])[0] == 200
    assert Job.objects.filter(rebuild_suffix__isnull=False).count() == 1


def test_what_the_archive_refuses_fails_the_job(project: Project) -> None:
    work = AtWork.on(project)
    assert work.report(artifacts=[work.upload(b"not a package at all", NAME)])[0] == 200
    job = work.refresh().job
    assert job.state == JobState.FAILED
    assert "the archive refused it" in job.state_reason
    assert not Artifact.objects.exists()
    assert work.lease.outcome == "succeeded"
    job.retry(who="user:anna")
    assert job.state == JobState.WAITING
