"""The agent as a process: enrolled, working, stopped, killed, started again; and on Python 3.9."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import pytest

from commonfarm.agent import limits, loop
from commonfarm.agent.__main__ import main
from commonfarm.agent.disk import mounts_below
from commonfarm.agent.limits import cgroup_folders
from commonfarm.agent.protocol import Lease
from commonfarm.agent.rootfs import BaseRoot
from commonfarm.agent.state import Credential, State
from commonfarm.agent.zipapp import build_zipapp

from .conftest import KEYRING
from .fake_hub import FakeHub, Given

Leases = Callable[..., tuple[Lease, dict[str, bytes]]]
Start = Callable[[], subprocess.Popen[str]]
Building = Callable[[str], tuple[Given, subprocess.Popen[str]]]
SLOW = "setsid sleep 600 & sleep 600"


def wait_for(what: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


@pytest.fixture
def pyz(tmp_path: Path) -> Path:
    path = tmp_path / "agent.pyz"
    path.write_bytes(build_zipapp())
    return path


@pytest.fixture
def start(state: State, hub: FakeHub, root: BaseRoot, pyz: Path) -> Iterator[Start]:
    """Start the zipapp as an enrolled agent on the shared state directory."""
    assert root.tree.exists()
    state.save_credential(Credential(hub.url, [hub.url], "b7", hub.generation, hub.credential))
    started: list[subprocess.Popen[str]] = []

    def run() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(pyz), "run", "--state", str(state.root)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@pytest.fixture
def build(
    hub: FakeHub, start: Start, make_source: Callable[..., Path], make_lease: Leases
) -> Building:
    """Start an agent, and return when its build runs the given lines."""

    def begin(recipe: str) -> tuple[Given, subprocess.Popen[str]]:
        given = hub.offer(*make_lease(make_source(f"echo marker-of-the-build; {recipe}")))
        agent = start()
        wait_for(lambda: b"marker-of-the-build" in given.log)
        return given, agent

    return begin


def processes_of(state: State) -> list[str]:
    """Every process whose command line or cgroup names the state directory."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode("utf-8", "replace")
            groups = (folder / "cgroup").read_text()
        except OSError:
            continue
        if int(folder.name) != os.getpid() and (str(state.root) in line or state.cgroup in groups):
            found.append(line)
    return found


def mounts_of(state: State) -> list[str]:
    """Every mount of the state directory in any process's mount namespace."""
    found = []
    for path in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            found += [x for x in path.read_text().splitlines() if str(state.root) in x]
        except OSError:
            continue
    return found


@pytest.mark.root
@pytest.mark.network
def test_a_killed_agent_leaves_nothing_alive_and_goes_on(
    hub: FakeHub, state: State, start: Start, build: Building
) -> None:
    _, agent = build(SLOW)
    agent.kill()
    agent.wait()
    wait_for(lambda: not processes_of(state))
    wait_for(lambda: not mounts_of(state))
    assert (state.jobs / "7").exists()
    polls = len(hub.polls)
    again = start()
    wait_for(lambda: len(hub.polls) > polls + 1)
    assert hub.polls[-1]["clean"] is True
    assert hub.polls[-1]["holding"] == []
    assert list(state.jobs.iterdir()) == []
    assert cgroup_folders(state.cgroup) == []
    assert list(state.runc.iterdir()) == []
    again.terminate()
    assert again.wait(60) == 0


@pytest.mark.root
@pytest.mark.network
def test_a_stopped_agent_says_so_and_leaves_nothing(
    hub: FakeHub, state: State, start: Start, build: Building
) -> None:
    given, agent = build(SLOW)
    agent.terminate()
    assert agent.wait(60) == 0
    assert given.report is not None
    assert given.report["outcome"] == "broken"
    assert "the agent was stopped" in given.report["reason"]
    assert given.report["log_bytes"] == len(given.log)
    assert processes_of(state) == []
    assert mounts_below(state.root) == []
    assert list(state.jobs.iterdir()) == []


@pytest.mark.root
@pytest.mark.network
def test_a_finished_job_is_reported_after_a_kill_while_the_hub_was_away(
    hub: FakeHub, state: State, start: Start, build: Building
) -> None:
    hub.away_after = b"marker-of-the-build"
    given, agent = build("true")
    wait_for(lambda: (state.jobs / "7/report.json").exists())
    agent.kill()
    agent.wait()
    wait_for(lambda: not processes_of(state))
    assert given.report is None
    hub.away_after, hub.failing = b"", 0
    start()
    wait_for(lambda: given.report)
    assert given.report is not None
    assert given.report["outcome"] == "succeeded"
    assert given.report["log_bytes"] == len(given.log)
    assert given.artifact(".deb").startswith(b"!<arch>\n")
    wait_for(lambda: not (state.jobs / "7").exists())


@pytest.mark.root
@pytest.mark.network
def test_an_agent_of_a_past_generation_ends_and_says_what_to_do(hub: FakeHub, start: Start) -> None:
    hub.generation = 2
    agent = start()
    said, _ = agent.communicate(timeout=60)
    assert agent.returncode == 1
    assert "run `agent enrol` again" in said


@pytest.mark.root
def test_enrolment_takes_the_token_from_standard_input(
    hub: FakeHub, empty_state: State, pyz: Path
) -> None:
    command = [sys.executable, str(pyz), "enrol", "--hub", hub.url, "--name", "b7"]
    state = ["--state", str(empty_state.root)]
    for given, expected in ((hub.token, 0), ("used", 1)):
        done = subprocess.run(
            [*command, *state, "--token", "-"], input=f"{given}\n", capture_output=True, text=True
        )
        assert done.returncode == expected, done.stderr
    assert "unknown or used" in done.stderr
    assert empty_state.credential().builder == "b7"
    far = [sys.executable, str(pyz), "enrol", "--hub", "http://192.0.2.1", *state]
    done = subprocess.run(
        far, env={**os.environ, "COMMONFARM_ENROLMENT_TOKEN": "x"}, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "plain HTTP to another machine" in done.stderr
    without = {k: v for k, v in os.environ.items() if k != "COMMONFARM_ENROLMENT_TOKEN"}
    done = subprocess.run(far, env=without, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no token" in done.stderr


@pytest.mark.root
def test_a_hub_that_cannot_be_reached_has_an_exit_code_of_its_own(
    empty_state: State, capsys: pytest.CaptureFixture[str]
) -> None:
    state = ["--state", str(empty_state.root)]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        assert main(["enrol", "--hub", url, "--token", "x", *state]) == 3
    assert "does not answer" in capsys.readouterr().err


@pytest.mark.root
def test_limits_are_found_by_trying(state: State) -> None:
    means = limits.probe(state.root)
    known = {"cgroup2", "cgroup1", "rlimit", "overlay-size", "watchdog", "none"}
    assert set(means.names().values()) <= known
    facts = loop.facts(state, means)
    assert facts.cores >= 1
    assert facts.disk_bytes > 0
    where = limits.hierarchy("memory")
    if where is not None and os.access(where.path, os.W_OK) and where.version == 1:
        assert means.memory == "cgroup1"
    assert list(state.root.glob("probe-*")) == []


def test_the_zipapp_is_the_same_bytes_each_time_and_only_the_agent() -> None:
    data = build_zipapp()
    assert data == build_zipapp()
    with zipfile.ZipFile(BytesIO(data)) as archive:
        names = archive.namelist()
    assert {"__main__.py", "commonfarm/__init__.py", "commonfarm/agent/loop.py"} <= set(names)
    assert all(
        n.startswith("commonfarm/agent/") for n in names[1:] if n != "commonfarm/__init__.py"
    )


@pytest.fixture(scope="session")
def python39(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root of Debian 11, whose Python is 3.9."""
    root = tmp_path_factory.mktemp("python39") / "root"
    done = subprocess.run(
        [
            "apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
            "Component: main",
        ],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    [mirror] = {u for u in done.stdout.split() if u.rstrip("/").endswith("/debian")} or {""}
    if not mirror:
        pytest.skip("this host's apt names no Debian mirror")
    line = f"deb [signed-by={KEYRING}] {mirror} bullseye main"
    # An older mmdebstrap puts the last two into a root unasked.
    include = "--include=python3-minimal,python3,mount,e2fsprogs"
    made = subprocess.run(
        ["mmdebstrap", "--mode=root", "--variant=apt", include, "bullseye", root, line],
        capture_output=True, text=True,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    return root


@pytest.mark.root
@pytest.mark.network
def test_the_zipapp_runs_on_python_3_9(python39: Path, hub: FakeHub, pyz: Path) -> None:
    (python39 / "agent.pyz").write_bytes(pyz.read_bytes())
    # The agent wants what every host has: a root that is a mount, and /proc. Both end with it.
    # Debian 13 names no /bin in PATH; in Debian 11 that may be a folder of its own.
    mounted = 'mount --bind "$0" "$0"; mount -t proc proc "$0/proc"; exec chroot "$0" "$@"'
    inside = ["unshare", "--mount", "sh", "-e", "-c", mounted, str(python39),
              "env", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "python3"]  # fmt: skip

    def run(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*inside, *arguments],
            input=text, capture_output=True, text=True,
        )  # fmt: skip

    assert run("--version").stdout.startswith("Python 3.9.")
    # Every module of it is loaded, and the tools that a bare root lacks are named.
    load = (
        "import sys; sys.path.insert(0, '/agent.pyz'); import importlib, pkgutil, commonfarm.agent;"
        "print(*(importlib.import_module('commonfarm.agent.' + m.name).__name__ for m in"
        " pkgutil.iter_modules(commonfarm.agent.__path__) if m.name != '__main__'))"
    )
    done = run("-c", load)
    assert done.returncode == 0, done.stderr
    assert "commonfarm.agent.sandbox" in done.stdout
    done = run("/agent.pyz", "run", "--state", "/var/lib/agent")
    assert done.returncode == 1
    assert "apt-get install mmdebstrap runc" in done.stderr
    # Enrolment and a poll, for real: the two missing tools are only looked for, not run.
    for tool in ("mmdebstrap", "runc"):
        (python39 / "usr/bin" / tool).write_text("#!/bin/sh\nexit 1\n")
        (python39 / "usr/bin" / tool).chmod(0o755)
    done = run("/agent.pyz", "enrol", "--hub", hub.url, "--token", "-", "--name", "old",
               "--state", "/var/lib/agent", text=hub.token)  # fmt: skip
    assert done.returncode == 0, done.stderr
    with subprocess.Popen(
        [*inside, "/agent.pyz", "run", "--state", "/var/lib/agent"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as agent:  # fmt: skip
        try:
            wait_for(lambda: hub.polls or agent.poll() is not None)
        finally:
            agent.send_signal(signal.SIGTERM)
            late = threading.Timer(60, agent.kill)
            late.start()
            said = agent.communicate()[0]
            late.cancel()
    assert hub.polls, said
    assert agent.returncode == 0, said
