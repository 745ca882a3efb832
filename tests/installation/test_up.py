"""`commonfarm up` with its real processes: started, watched, killed, started again, stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

import commonfarm
from commonfarm.installation import leftovers

SECONDS = 60.0


class Machine:
    """An installation below a folder of its own, driven by the command line."""

    def __init__(self, home: Path, python: str = sys.executable) -> None:
        self.home = home
        self.python = python
        kept = {key: text for key, text in os.environ.items() if not key.startswith("COMMONFARM_")}
        kept.pop("DJANGO_SETTINGS_MODULE", None)
        self.environment = kept | {"COMMONFARM_HOME": str(home)}
        self.become: list[str] = []
        self.started: list[subprocess.Popen[str]] = []

    def command(self, *arguments: str) -> list[str]:
        return [*self.become, self.python, "-m", "commonfarm.cli.main", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def up(self, *arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            self.command("up", *arguments),
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def status(self) -> dict[str, Any]:
        said = self.run("status", "--json").stdout
        return dict(json.loads(said or '{"ready": false}'))

    def processes(self) -> dict[str, dict[str, Any]]:
        return {one["name"]: one for one in self.status()["processes"]}

    def wait(self) -> dict[str, Any]:
        """Return the status once all answer."""
        deadline = time.monotonic() + SECONDS
        while not (found := self.status())["ready"]:
            assert time.monotonic() < deadline, (found, self.logs())
            assert self.started[-1].poll() is None, self.started[-1].communicate()[0]
            time.sleep(0.2)
        return found

    def logs(self) -> str:
        files = [one for one in sorted(self.home.glob("state/*/log/*.log")) if one.is_file()]
        return "\n".join(f"== {file.name}\n{file.read_text()[-2000:]}" for file in files)

    def me(self) -> tuple[int, str]:
        """Ask the hub who the command line is; return the status and the name."""
        token = (self.home / "state/production/cli-token").read_text().strip()
        request = Request(self.status()["web"] + "/api/v1/accounts/me")
        request.add_header("Authorization", f"Bearer {token}")
        with urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)["username"]

    def clean_up(self) -> None:
        """Leave no process, whatever went wrong."""
        for process in self.started:
            if process.poll() is None:
                process.kill()
            process.communicate()
        leftovers.stop(self.ours(), signal.SIGKILL, 10)
        data = self.home / "state/production/postgres"
        leftovers.stop(leftovers.works_in(data), signal.SIGKILL, 10)

    def ours(self) -> leftovers.Belongs:
        return leftovers.carries(self.home / "state/production")


@pytest.fixture
def machine() -> Iterator[Machine]:
    # Not pytest's own folder, which is closed to the users our processes run as.
    with tempfile.TemporaryDirectory(prefix="cf-up-") as text:
        home = Path(text).resolve()
        home.chmod(0o755)
        one = Machine(home)
        yield one
        one.clean_up()


def test_an_installation_lives_through_kills_and_ends_without_a_trace(machine: Machine) -> None:
    # What the hub says goes to a full disk, and is lost; the hub is not.
    log = machine.home / "state/production/log"
    log.mkdir(parents=True)
    (log / "hub.log").symlink_to("/dev/full")
    first = machine.up()
    machine.wait()
    assert machine.me() == (200, "admin")

    shown = machine.run("status").stdout
    for what in ("public-keys", "published", "log"):
        assert f" {machine.home}/state/production/{what}\n" in shown

    # A second one is refused, and says who runs.
    second = machine.run("up")
    assert second.returncode == 1
    assert f"as process {first.pid}" in second.stderr

    # Each process that is killed comes back, PostgreSQL with all that stand on it.
    before = machine.processes()
    for name in ("hub", "worker", "postgres"):
        os.kill(before[name]["pid"], signal.SIGKILL)
    deadline = time.monotonic() + SECONDS
    while not (
        machine.status()["ready"]
        and all(machine.processes()[name]["restarts"] for name in ("hub", "worker", "postgres"))
    ):
        assert time.monotonic() < deadline, (machine.status(), machine.logs())
        time.sleep(0.2)
    assert machine.me() == (200, "admin")
    assert "killed by signal 9" in machine.processes()["hub"]["last_error"]

    # `up` itself is killed: the next one finds what is left, and nothing is lost.
    first.kill()
    first.wait()
    third = machine.up()
    machine.wait()
    assert machine.me() == (200, "admin")
    running = {one["pid"] for one in machine.processes().values() if one["pid"]}
    of_ours = leftovers.pids(machine.ours())
    assert all(
        pid in of_ours
        for name, one in machine.processes().items()
        if (pid := one["pid"]) and name != "postgres"
    )
    assert third.pid not in running

    assert machine.run("down").stdout == "production is stopped\n"
    # It gave its token to the hub, which it knows by its user, and was told about the estate.
    assert "no pool named local" in third.communicate(timeout=SECONDS)[0]
    assert third.returncode == 0
    assert leftovers.pids(machine.ours()) == []
    assert leftovers.pids(leftovers.works_in(machine.home / "state/production/postgres")) == []
    assert machine.status() | {"ready": False, "processes": []} == machine.status()
    assert machine.run("down").stdout == "production did not run\n"


@pytest.mark.root
def test_each_process_has_a_user_of_its_own_and_secrets_stay_closed(machine: Machine) -> None:
    if os.getuid():
        pytest.skip("needs root: users of their own")
    machine.up()
    processes = {one["name"]: one for one in machine.wait()["processes"]}
    import pwd

    for name, one in processes.items():
        if one["pid"]:
            owner = Path(f"/proc/{one['pid']}").stat().st_uid
            assert pwd.getpwuid(owner).pw_name == one["user"] == f"commonfarm-{name}"
    state = machine.home / "state/production"

    def may_read(user: str, file: Path) -> bool:
        become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups"]
        command = [*become, "cat", str(file)]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    keys = next(file for file in (state / "keys").iterdir() if file.is_file())
    readers = {
        state / "secrets/django-key": {"hub", "live"},
        keys: {"signer"},
        state / "rsyncd/rsyncd.conf": {"worker", "rsyncd"},
        state / "operator/push-key": {"operator"},
        state / "cli-token": set(),
        state / "postgres/PG_VERSION": {"postgres"},
    }
    for file, allowed in readers.items():
        others = ("worker", "operator", "signer", "redirector", "rsyncd")
        for name in ("hub", "live", "scheduler", *others):
            assert may_read(f"commonfarm-{name}", file) == (name in allowed), (name, file)
        assert may_read("commonfarm-postgres", file) == ("postgres" in allowed), file


def test_the_database_and_store_of_another_are_refused(machine: Machine) -> None:
    first = machine.up()
    machine.wait()
    machine.run("down")
    first.wait(SECONDS)
    production = machine.home / "etc/production.toml"
    text = production.read_text()

    # Another's store: its database is new, the store's marker is not.
    marker = machine.home / "state/production/store/installation"
    kept = marker.read_text()
    marker.write_text("00000000-0000-0000-0000-000000000000 testing\n")
    refused = machine.up()
    said = refused.communicate(timeout=SECONDS)[0]
    assert refused.returncode == 1
    assert "belongs to the installation testing" in said
    marker.write_text(kept)

    # Another's database: the same files under a new name.
    production.unlink()
    (machine.home / "etc/testing.toml").write_text(text.replace('"production"', '"testing"'))
    refused = machine.up()
    said = refused.communicate(timeout=SECONDS)[0]
    assert refused.returncode == 1
    assert "belongs to the installation production" in said.replace("\n", " ")
    assert leftovers.pids(leftovers.works_in(machine.home / "state/production/postgres")) == []


@pytest.mark.root
def test_without_sudo_it_says_at_once_why_the_builder_waits(machine: Machine) -> None:
    if os.getuid():
        pytest.skip("needs root: to become somebody without rights")
    machine.become = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]

    refused = machine.run("up")
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"{machine.home}/etc: nobody has no access to it; ")

    shutil.chown(machine.home, "nobody")
    estate = Path(__file__).parents[2] / "examples/first"
    process = machine.up("--estate", str(estate))
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        if "the local builder waits" in line:
            break
    assert "sudo is missing or asks for a password" in said[-1], said
    assert "as root: apt-get install sudo" in said[-1]
    agent = machine.processes()["agent"]
    assert (agent["state"], agent["pid"]) == ("waiting", None)
    assert machine.run("down").returncode == 0


@pytest.mark.root
def test_without_sudo_the_demo_stops_before_anything_else(machine: Machine) -> None:
    if os.getuid():
        pytest.skip("needs root: to become somebody without rights")
    shutil.chown(machine.home, "nobody")
    become = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
    done = subprocess.run(
        [*become, sys.executable, "-m", "examples.first.demo", "--exit"],
        cwd=Path(__file__).parents[2],
        env=machine.environment | {"XDG_DATA_HOME": str(machine.home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "The demo stopped: sudo is missing or asks for a password" in done.stdout
    assert "as root: apt-get install sudo" in done.stdout
    assert list(machine.home.iterdir()) == []


@pytest.mark.root
def test_checkout_and_venv_may_lie_below_a_closed_folder() -> None:
    if os.getuid():
        pytest.skip("needs root: users of their own")
    with tempfile.TemporaryDirectory(prefix="cf-closed-") as folder:
        _run_below(Path(folder).resolve())


def _run_below(closed: Path) -> None:
    """Run an installation whose sources, venv and state are all below a folder open to us alone."""
    assert closed.stat().st_mode & 0o777 == 0o700
    shutil.copytree(Path(commonfarm.__file__).parent, closed / "checkout/src/commonfarm")
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", closed / "venv"], check=True)
    (packages,) = (closed / "venv/lib").glob("python3*/site-packages")
    paths = [closed / "checkout/src", *filter(None, sys.path)]
    (packages / "ours.pth").write_text("".join(f"{path}\n" for path in paths))
    machine = Machine(closed / "home", str(closed / "venv/bin/python"))
    try:
        machine.up()
        machine.wait()
        assert machine.me() == (200, "admin")
        hub = machine.processes()["hub"]
        assert Path(f"/proc/{hub['pid']}").stat().st_uid != 0
        assert machine.run("down").returncode == 0
    finally:
        machine.clean_up()
    assert closed.stat().st_mode & 0o777 == 0o700
    assert str(closed) not in Path("/proc/self/mounts").read_text()


@pytest.mark.root
def test_a_folder_for_sockets_that_another_user_made_is_refused(machine: Machine) -> None:
    if os.getuid():
        pytest.skip("needs root: to be another user")
    machine.environment["COMMONFARM_HOME"] = str(machine.home / ("deep" * 20))
    # Enough for the configuration to be written: the folder that holds the state is a file.
    state = Path(machine.environment["COMMONFARM_HOME"], "state")
    state.parent.mkdir()
    state.write_text("")
    assert machine.run("up").returncode == 1
    configuration = state.with_name("etc") / "production.toml"
    runtime = Path(tomllib.loads(configuration.read_text())["paths"]["runtime"])
    state.unlink()
    assert runtime.parent.parent == Path("/tmp")
    try:
        shutil.chown(runtime.parent, "nobody")
        refused = machine.run("up")
    finally:
        runtime.parent.rmdir()
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"{runtime.parent} exists, and others may write to it")


def test_why_postgres_does_not_start_is_said_and_logged(machine: Machine) -> None:
    data = machine.home / "state/production/postgres"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("9\n")
    (data / "postgresql.conf").write_text("")
    refused = machine.run("up")
    assert refused.returncode == 3
    why = "database files are incompatible with server"
    log = machine.home / "state/production/log/postgres.log"
    assert "PostgreSQL did not start: it ended with code 1" in refused.stderr
    assert why in refused.stderr
    assert f"{log} has the whole of it" in refused.stderr
    assert why in log.read_text()
    assert "version 9" in log.read_text()
