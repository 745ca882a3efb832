"""The command line against a hub that really listens."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pytest_django.live_server_helper import LiveServer

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.estate.host_apt import host_package_sources
from commonfarm.estate.interface import Project
from commonfarm.farm import leases, log
from commonfarm.farm.bringing import find_dsc
from commonfarm.farm.models import Job, JobState
from tests.farm.packages import make_source
from tests.farm.test_agent_api import give
from tests.farm.test_dispatch import eventually
from tests.farm.world import Agent, make_job, make_project, make_target, now

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return make_project(make_target(tmp_path / "keyring.gpg"))


@pytest.fixture
def environment(live_server: LiveServer, tmp_path: Path) -> dict[str, str]:
    user = User.add("anna", Role.SUBMITTER, who="test")
    token = ApiToken.make(user, "test", who="test").reveal()
    return {**os.environ, "COMMONFARM_HUB": live_server.url, "COMMONFARM_TOKEN": token}


def run(environment: dict[str, str], *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "commonfarm.cli.main", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def started(environment: dict[str, str], *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "commonfarm.cli.main", *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )


def shown(environment: dict[str, str], *arguments: object) -> Any:
    done = run(environment, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_dsc_is_submitted_shown_and_cancelled(
    environment: dict[str, str], project: Project, tmp_path: Path
) -> None:
    dsc = make_source(tmp_path)
    done = run(environment, "build", dsc, "--project", "demo", "--memory", "8 GiB")
    assert done.returncode == 0, done.stderr
    assert "greeting_1.0.orig.tar.gz: done" in done.stderr
    job = Job.objects.get()
    assert job.needs["memory_bytes"] == 8 * 2**30
    assert f"build {job.build_id}: greeting 1.0-1 in demo, by user:anna" in done.stdout
    build = shown(environment, "build", "show", job.build_id)
    assert [one["state"] for one in build["jobs"]] == ["waiting"]
    assert [one["id"] for one in shown(environment, "builds")] == [job.build_id]
    explained = run(environment, "build", "explain", job.pk)
    assert "there is no builder of amd64" in explained.stdout
    assert "what would lift it: enrol one" in explained.stdout
    assert "cancelled by user:anna" in run(environment, "build", "cancel", job.pk).stdout
    again = run(environment, "build", "cancel", job.pk)
    assert again.returncode == 1
    assert f"job {job.pk} is cancelled already" in again.stderr
    assert "waiting" in run(environment, "build", "retry", job.pk).stdout


def test_the_only_project_is_meant_and_targets_are_named(
    environment: dict[str, str], project: Project, tmp_path: Path
) -> None:
    dsc = make_source(tmp_path)
    build = shown(environment, "build", "-t", "bookworm-amd64", dsc)
    assert (build["project"], build["jobs"][0]["target"]) == ("demo", "bookworm-amd64")
    wrong = run(environment, "build", dsc, "-t", "bookworm-amd46")
    assert wrong.returncode == 2
    assert (
        "'bookworm-amd46' is not a target of demo; did you mean `bookworm-amd64`?" in wrong.stderr
    )
    assert "uploaded" not in wrong.stderr
    make_project(*project.targets.all(), name="other")
    which = run(environment, "build", dsc)
    assert which.returncode == 1
    assert "there are 2 projects: demo, other; name one with --project" in which.stderr


def test_a_directory_is_packed_first(
    environment: dict[str, str], project: Project, tmp_path: Path
) -> None:
    make_source(tmp_path)
    for made in tmp_path.glob("*.debian.tar.*"):
        made.unlink()
    build = shown(environment, "build", tmp_path / "greeting-1.0", "--project", "demo")
    assert (build["source"], build["version"]) == ("greeting", "1.0-1")


def test_faults_of_the_input_name_the_local_file(
    environment: dict[str, str], project: Project, tmp_path: Path
) -> None:
    dsc = make_source(tmp_path)
    (tmp_path / "greeting_1.0.orig.tar.gz").write_bytes(b"changed")
    done = run(environment, "build", dsc, "--project", "demo")
    assert done.returncode == 2
    assert f"{dsc}:" in done.stderr
    assert "greeting_1.0.orig.tar.gz has 7 bytes" in done.stderr
    done = run(environment, "build", tmp_path / "no.dsc", "--project", "demo")
    assert (done.returncode, "there is no such file" in done.stderr) == (2, True)
    done = run(environment, "build", tmp_path, "--project", "demo")
    assert (done.returncode, "has no debian/control" in done.stderr) == (2, True)


def test_a_hub_that_does_not_answer_is_code_3(project: Project, tmp_path: Path) -> None:
    environment = {**os.environ, "COMMONFARM_HUB": "http://127.0.0.1:9", "COMMONFARM_TOKEN": "x"}
    done = run(environment, "builds")
    assert (done.returncode, "does not answer" in done.stderr) == (3, True)


def test_a_log_is_followed_over_a_second_attempt_to_its_end(
    environment: dict[str, str], project: Project
) -> None:
    job, first, second = make_job(project), Agent.enrol("b1"), Agent.enrol("b2")

    lease = give(first, job)
    log.add_piece(lease, 0, b"first\n")
    with started(environment, "build", "log", job.pk, "-f") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "first\n"
        leases.free(lease.pk, "expired", "gone", who="test", now=now())
        lease = give(second, job)
        log.add_piece(lease, 0, "zweite Zeile: é\n".encode())
        assert following.stdout.readline().startswith("--- tried again under lease")
        assert following.stdout.readline() == "zweite Zeile: é\n"
        log.add_piece(lease, 17, b"end\n")
        _fail(lease.pk)
        log.join(lease.pk)
        assert following.communicate(timeout=60)[0] == "end\n"
    assert following.returncode == 0


def _fail(lease_id: int) -> None:
    from django.db import connections, transaction

    with transaction.atomic():
        lease = leases.lock(lease_id)
        leases.close(lease, "failed", "", now())
        lease.job.end(JobState.FAILED, "x", who="test", now=now())
    connections.close_all()


def test_waiting_for_a_build_that_fails_is_code_1(
    environment: dict[str, str], project: Project, tmp_path: Path
) -> None:
    dsc, agent = make_source(tmp_path), Agent.enrol()
    with started(environment, "build", dsc, "--project", "demo", "--wait") as waiting:
        eventually(Job.objects.exists)
        _fail(give(agent, Job.objects.get()).pk)
        assert "failed: x" in waiting.communicate(timeout=60)[0]
    assert waiting.returncode == 1


def test_the_command_line_loads_no_django() -> None:
    code = (
        "import sys, commonfarm.farm.cli, commonfarm.farm.bringing;"
        "sys.exit(any(name.partition('.')[0] == 'django' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.network
def test_a_name_is_fetched_from_where_the_target_has_its_packages_from(tmp_path: Path) -> None:
    source = next(one for one in host_package_sources() if "-" not in one.suite)
    target = {
        "package_sources": [
            {"uri": source.uri, "suite": source.suite, "components": ["main"]},
        ],
        "keyring": "/usr/share/keyrings/debian-archive-keyring.gpg",
    }
    dsc = find_dsc("figlet", target, tmp_path)
    assert dsc.name.startswith("figlet_")
