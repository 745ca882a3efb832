"""What is not the build's doing: a full disk, a slow mirror, a hub that refuses a report."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from commonfarm.agent import job, loop, packages
from commonfarm.agent.build import Build
from commonfarm.agent.errors import BrokenError, CancelledError
from commonfarm.agent.hub import Hub
from commonfarm.agent.limits import Means
from commonfarm.agent.log import Log
from commonfarm.agent.packages import Apt
from commonfarm.agent.protocol import (
    FAILED,
    SUCCEEDED,
    Buildroot,
    Lease,
    PackageSource,
    Report,
    SourceFile,
)
from commonfarm.agent.state import State

from .conftest import LIMITS
from .fake_hub import FakeHub

Leases = Callable[..., tuple[Lease, dict[str, bytes]]]
MEANS = Means("none", "none", "watchdog", swap_counted=False)


@pytest.fixture
def offered(make_lease: Leases, tmp_path: Path) -> tuple[Lease, dict[str, bytes]]:
    """A lease of a source that will never be unpacked."""
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "probe_1.0.dsc").write_text("Source: probe\n")
    return make_lease(folder)


class Mirror(ThreadingHTTPServer):
    """Answers ten bytes a second for ever, so that no timeout of a client passes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Trickle)
        self.asked = threading.Event()
        self.left = threading.Event()
        self.closing = threading.Event()

    @property
    def buildroot(self) -> Buildroot:
        """A buildroot whose packages come from here."""
        source = PackageSource(f"http://127.0.0.1:{self.server_address[1]}/debian", "s", ["main"])
        return Buildroot("s-amd64", "amd64", [source], "")


class _Trickle(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        mirror: Any = self.server
        self.send_response(200)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        mirror.asked.set()
        try:
            while not mirror.closing.wait(0.1):
                self.wfile.write(b"x")
        except OSError:
            mirror.left.set()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Be quiet."""


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    """A mirror that trickles, reached without the proxies of this host."""
    monkeypatch.setattr(packages, "host_settings", list)
    with Mirror() as mirror:
        threading.Thread(target=mirror.serve_forever, daemon=True).start()
        yield mirror
        mirror.closing.set()
        mirror.shutdown()


def test_a_cancel_ends_a_fetch_that_trickles(empty_state: State, mirror: Mirror) -> None:
    def check() -> None:
        if mirror.asked.is_set():
            raise CancelledError("anna wants it no more")

    apt = Apt(empty_state, mirror.buildroot, check)
    with pytest.raises(CancelledError, match="no more"):
        apt.update()
    assert mirror.left.wait(60), "what apt started to fetch is still at it"


def test_a_fetch_that_trickles_ends_with_the_jobs_time(
    empty_state: State, mirror: Mirror, offered: tuple[Lease, object], tmp_path: Path
) -> None:
    empty_state.prepare()
    limits = replace(LIMITS, wall_seconds=0)
    lease = replace(offered[0], buildroot=mirror.buildroot, limits=limits)
    build = Build(empty_state, lease, MEANS, Log(tmp_path / "log", 2**20), lambda: None)
    with pytest.raises(BrokenError, match=r"not there within the 0 s .* mirror"):
        build.run(tmp_path, tmp_path)
    assert build.progress.stage == "root"


@pytest.mark.parametrize(("refusals", "told"), [(0, True), (1, True), (2, False)])
def test_a_report_that_the_hub_refuses_fails_the_job_in_the_hubs_words(
    empty_state: State,
    hub: FakeHub,
    offered: tuple[Lease, dict[str, bytes]],
    refusals: int,
    told: bool,
) -> None:
    given = hub.offer(*offered)
    given.refusals = refusals
    folder = empty_state.jobs / "7"
    (folder / "output").mkdir(parents=True)
    (folder / "output/a").write_bytes(b"a")
    (folder / "log").write_bytes(b"built\n")
    artifact = SourceFile("a", 1, hashlib.sha256(b"a").hexdigest())
    report = Report(1, SUCCEEDED, "upload", "", [artifact], 6, "", {"packages": ["a"]})
    (folder / "report.json").write_text(json.dumps({"lease": 7, "report": asdict(report)}))

    sent = job.resume(Hub(hub.url, hub.credential), folder, 1, threading.Event())

    assert (sent is not None) == told
    assert not folder.exists()
    assert given.reports[0] == asdict(report)
    for again in given.reports[1:]:
        assert (again["outcome"], again["stage"]) == (FAILED, "upload")
        assert "it has 1001 artifacts; send at most 1000" in again["reason"]
        assert (again["artifacts"], again["facts"]) == ([], {})
        assert again["log_bytes"] == len(given.log) == 6
    assert len(given.reports) == min(refusals + 1, 2)


@pytest.fixture
def small(empty_state: State) -> Iterator[Callable[[str], State]]:
    """Give the state directory a disk of its own with these mount options."""
    root = empty_state.root

    def mount(options: str) -> State:
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", root], check=True)
        return empty_state

    yield mount
    subprocess.run(["umount", root], check=True)


def fill(state: State) -> None:
    """Use up what the state directory's disk has, blocks or inodes."""
    with pytest.raises(OSError, match="No space left") as full:
        for number in range(1000):
            (state.root / f"fill-{number}").write_bytes(bytes(4096))
    assert full.value.errno == errno.ENOSPC


@pytest.mark.root
@pytest.mark.parametrize("options", ["size=64k", "size=16m,nr_inodes=20"])
def test_a_job_on_a_full_disk_is_broken_and_says_so(
    small: Callable[[str], State],
    hub: FakeHub,
    offered: tuple[Lease, dict[str, bytes]],
    options: str,
) -> None:
    state = small(options)
    state.prepare()
    fill(state)
    given = hub.offer(*offered)
    client = Hub(hub.url, hub.credential)

    job.work(client, state, given.lease, hub.generation, MEANS, threading.Event())

    assert given.report is not None
    assert given.report["outcome"] == "broken"
    assert "this builder's disk is full; make room" in given.report["reason"]
    assert given.report["log_bytes"] == len(given.log)
    assert list(state.jobs.iterdir()) == []


@pytest.mark.root
def test_a_log_goes_on_nowhere_when_the_disk_is_full(small: Callable[[str], State]) -> None:
    state = small("size=64k")
    path = state.root / "log"
    log = Log(path, 2**20)
    log.write(bytes(100_000))
    assert log.size == path.stat().st_size == 64 * 1024
    log.write(b"more")
    os.truncate(path, 10)  # room again, but a log with a gap would be a lie
    log.write(b"more")
    assert path.stat().st_size == 10
    log.close()


@pytest.mark.root
def test_an_agent_whose_disk_is_full_ends_with_a_line(
    small: Callable[[str], State], capsys: pytest.CaptureFixture[str]
) -> None:
    state = small("size=16m,nr_inodes=3")
    fill(state)
    assert loop.run(state) == 1
    said = capsys.readouterr().err
    assert said.startswith("this host refuses: [Errno 28] No space left on device")
    assert said.count("\n") == 1
