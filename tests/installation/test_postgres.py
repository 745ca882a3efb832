"""The embedded PostgreSQL outlives kills of itself, of its starter, and of its own making."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from commonfarm.installation import leftovers
from commonfarm.installation.postgres import EmbeddedPostgres
from commonfarm.lib.errors import UnreachableError


@pytest.fixture
def home() -> Iterator[Path]:
    import shutil
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="cf-pg-"))
    folder.chmod(0o755)
    yield folder
    leftovers.stop(leftovers.works_in(folder / "data"), signal.SIGKILL, 10)
    shutil.rmtree(folder)


def _server(home: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(
        data=home / "data",
        socket_directory=home / "run",
        runs_as="nobody" if os.getuid() == 0 else None,
        peers={pwd.getpwuid(os.getuid()).pw_name: ["owner", "reader"]},
    )


def _count(server: EmbeddedPostgres) -> int:
    with psycopg.connect(
        host=str(server.socket_directory), dbname="farm", user="reader"
    ) as connection:
        row = connection.execute("SELECT count(*) FROM kept").fetchone()
    assert row is not None
    return int(row[0])


def test_what_was_committed_outlives_every_kill(home: Path) -> None:
    server = _server(home)
    (home / "data.new").mkdir()
    (home / "data.new" / "PG_VERSION").write_text("a making that was killed")
    server.prepare()
    process = server.start(home / "log")
    server.create("farm", "owner", readers=("reader",))
    owner = psycopg.connect(
        host=str(server.socket_directory), dbname="farm", user="owner", autocommit=True
    )
    owner.execute("CREATE TABLE kept (id int)")
    owner.execute("INSERT INTO kept VALUES (1)")
    assert _count(server) == 1
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        psycopg.connect(host=str(server.socket_directory), dbname="farm", user="reader").execute(
            "INSERT INTO kept VALUES (2)"
        )

    # The postmaster is killed while a session is open: its sessions end before a new one starts.
    process.kill()
    process.wait()
    process = server.start(home / "log")
    assert _count(server) == 1

    # Its starter is gone without a word: the server that still runs is stopped first.
    again = _server(home)
    again.prepare()
    second = again.start(home / "log")
    assert process.wait(20) is not None
    assert _count(again) == 1
    again.stop(second)
    assert leftovers.pids(leftovers.works_in(home / "data")) == []


def test_a_stale_pid_file_harms_no_stranger(home: Path) -> None:
    server = _server(home)
    server.prepare()
    stranger = subprocess.Popen(["sleep", "60"], cwd="/")
    try:
        (server.data / "postmaster.pid").write_text(f"{stranger.pid}\n{server.data}\n0\n")
        server.settle()
        time.sleep(0.1)
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_its_folders_are_its_own_and_nothing_above_is_touched(home: Path) -> None:
    before = home.stat().st_mode
    server = _server(home)
    server.prepare()
    server.prepare()
    assert home.stat().st_mode == before
    assert server.data.stat().st_mode & 0o777 == 0o700
    if os.getuid() == 0:
        assert server.data.stat().st_uid == pwd.getpwnam("nobody").pw_uid
        assert {file.stat().st_uid for file in server.data.iterdir()} == {server.data.stat().st_uid}


@pytest.mark.root
def test_why_no_cluster_can_be_made_is_said(home: Path) -> None:
    if os.getuid():
        pytest.skip("needs root: a server that is another user")
    home.chmod(0o700)
    with pytest.raises(UnreachableError, match=r"initdb failed: .*Permission denied") as caught:
        _server(home).prepare()
    assert caught.value.reason.code == "database-not-made"
