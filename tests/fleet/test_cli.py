"""`commonfarm fleet` against a real hub, and `commonfarm agent` enrolling at it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.estate.host_apt import host_architecture
from commonfarm.estate.interface import Pool
from commonfarm.fleet.interface import Builder

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pool(db: None) -> Pool:
    return Pool.objects.create(name="local", architecture=host_architecture())


@pytest.fixture
def hub(live_server: LiveServer) -> dict[str, str]:
    user = User.add("anna", Role.COORDINATOR, who="test")
    token = ApiToken.make(user, "test", who="test").reveal()
    return {"COMMONFARM_HUB": live_server.url, "COMMONFARM_TOKEN": token}


@pytest.fixture
def states() -> Iterator[Path]:
    """A folder that the unprivileged ids of builds may enter, as an agent demands."""
    with tempfile.TemporaryDirectory(prefix="cf-fleet-") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def commonfarm(
    hub: dict[str, str], *arguments: object, given: str = ""
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "commonfarm.cli.main", *map(str, arguments)],
        env={**os.environ, **hub},
        input=given,
        capture_output=True,
        text=True,
        timeout=60,
    )


def told(hub: dict[str, str], *arguments: object) -> str:
    done = commonfarm(hub, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def enrol(
    hub: dict[str, str], token: str, name: str, state: Path
) -> subprocess.CompletedProcess[str]:
    where = ("--hub", hub["COMMONFARM_HUB"], "--name", name, "--state", state)
    return commonfarm(hub, "agent", "enrol", *where, "--token", "-", given=f"{token}\n")


@pytest.mark.root
def test_a_builder_enrols_is_shown_and_cordoned(
    hub: dict[str, str], pool: Pool, states: Path
) -> None:
    assert "no builders yet; make a token for one" in told(hub, "fleet", "builders")
    token = told(hub, "fleet", "token", "local").strip()
    assert token.startswith("cf_enrol")
    done = enrol(hub, token, "b7", states / "state")
    assert (done.returncode, done.stdout) == (0, "enrolled as b7, generation 1\n"), done.stderr
    kept = (states / "state/credential.json").stat()
    assert kept.st_mode & 0o077 == 0, "nobody else reads the credential"
    again = enrol(hub, token, "b8", states / "other")
    assert again.returncode == 1
    assert "this enrolment token was used at" in again.stderr
    assert "make a new one: commonfarm fleet token POOL" in again.stderr
    listed = told(hub, "fleet", "builders")
    assert listed.startswith("b7 ")
    assert f"local, {pool.architecture}, generation 1, 0 of 1 jobs" in listed
    said = told(hub, "fleet", "cordon", "b7", "--why", "its disk is loud")
    assert said.startswith("b7 is cordoned\n  cordoned since 20")
    assert ": its disk is loud\n" in said
    assert json.loads(told(hub, "fleet", "show", "b7", "--json"))["state"] == "cordoned"
    assert told(hub, "fleet", "uncordon", "b7").startswith("b7 is ready\n")
    assert "it says of itself:\n" in told(hub, "fleet", "show", "b7")
    [row] = json.loads(told(hub, "fleet", "builders", "--json"))
    assert row["name"] == "b7"


@pytest.mark.root
def test_enrolling_again_begins_a_new_generation(
    hub: dict[str, str], pool: Pool, states: Path
) -> None:
    for generation in (1, 2):
        token = told(hub, "fleet", "token", "local").strip()
        done = enrol(hub, token, "b7", states / f"state{generation}")
        assert done.stdout == f"enrolled as b7, generation {generation}\n", done.stderr
    assert Builder.named("b7").generation == 2


def test_mistakes(hub: dict[str, str], pool: Pool) -> None:
    for arguments, code, said in (
        (("fleet", "token", "locla"), 1, "there is no pool 'locla'; did you mean `local`?"),
        (("fleet", "show", "b9"), 1, "there is no builder 'b9'; `commonfarm fleet builders`"),
        (("fleet", "show", "../x"), 1, "there is no"),
        (("fleet", "cordon", "b9"), 2, "--why"),
        (("agent", "enrol"), 2, "--hub"),
        (("agent", "enrol", "--hub", "http://127.0.0.1:9"), 2, "there is no token"),
        (
            ("agent", "enrol", "--hub", "http://192.0.2.1", "--token", "x"),
            2,
            "plain HTTP to another machine",
        ),
    ):
        done = commonfarm(hub, *arguments)
        assert done.returncode == code, (arguments, done.stderr)
        assert said in done.stderr
        assert "Traceback" not in done.stderr
