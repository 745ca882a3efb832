"""Whatever dies under a running download service, clients go on, and it comes back by itself.

An installation with two mirrors, in an internet of its own. `COMMONFARM_LONG_STORIES` kills more
often.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import pytest
from examples.first.installation import PROGRAM
from examples.sugarlabs.downloads.internet import may_make_one
from examples.sugarlabs.downloads.site import MirrorSite
from examples.sugarlabs.downloads.small import TREE, SmallProject, wait_for

pytestmark = [pytest.mark.story, pytest.mark.root]

LONG = bool(os.environ.get("COMMONFARM_LONG_STORIES"))
KILLS = 20 if LONG else 2
DISK_BYTES = 48 * 2**20
OLD = "old/1.iso"
ASKED = 7
HOUR = 3600


@pytest.fixture(scope="module")
def project() -> Iterator[SmallProject]:
    if not may_make_one():
        pytest.skip("only root can make an internet of its own")
    name = f"cf-faults-{os.getpid()}"
    with SmallProject(name, Path("/var/tmp") / name) as made:
        made.have_small_disk(DISK_BYTES)
        made.have_movable_clock()
        made.up()
        first = made.put({f"old/{number}.iso": os.urandom(30_000) for number in range(10)})
        made.publish(first)
        made.wait_until_public(first)
        made.start_mirrors()
        made.wait_until_redirected(OLD)
        yield made


@pytest.fixture(autouse=True)
def left_well(project: SmallProject, request: pytest.FixtureRequest) -> Iterator[None]:
    """Mend what a test that failed left behind, so that the next one does not fail by it."""
    failed = request.session.testsfailed
    yield
    if request.session.testsfailed > failed:
        project.installation.wait_until_ready()
        for mirror in project.mirrors:
            project.installation.run("mirror", "edit", mirror.name, "--weight", "100")
            project.installation.run("mirror", "enable", mirror.name)
        wait_for(lambda: not project.left_out(OLD), "all mirrors to be in the map")


@contextmanager
def kept_away(project: SmallProject, process: str) -> Iterator[None]:
    """Kill a process, and each that is started in its place, until the block ends."""
    ended = threading.Event()

    def kill() -> None:
        last = None
        while not ended.is_set():
            with suppress(Exception):  # there may be none now
                pid = project.installation.pid_of(process)
                if pid is not None and pid != last:
                    os.kill(pid, signal.SIGKILL)
                    last = pid
            ended.wait(0.05)

    killer = threading.Thread(target=kill)
    project.installation.kill_one(process)
    killer.start()
    try:
        yield
    finally:
        ended.set()
        killer.join()


def redirects(project: SmallProject, path: str = OLD) -> bool:
    answer = project.ask(path)
    return bool(answer["status"] == 302 and answer["fetched"])


def page(project: SmallProject, path: str) -> tuple[int, str]:
    """Return what the hub answers to somebody who is not signed in."""
    web = project.installation.status_or_fail()["web"]
    command = project.internet.command("curl", "-q", "-s", "-w", "\n%{http_code}", f"{web}{path}")
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    body, _, status = said.rpartition("\n")
    return int(status), body


def map_of(project: SmallProject) -> dict[str, bytes]:
    folder = project.state / "mirror-map"
    return {
        name: (folder / name).read_bytes()
        for name in ("current", "delta")
        if (folder / name).exists()
    }


def counted(project: SmallProject, path: str) -> int:
    """Have counts taken up, and return how often a file was downloaded by them."""
    return project.installation.counted().files.get(f"{TREE}/{path}", (0, 0))[0]


def spooled(project: SmallProject) -> int:
    return len(list((project.state / "counts").glob("*.counts")))


def test_the_database_is_gone(project: SmallProject) -> None:
    path = "old/2.iso"

    def emptied() -> bool:
        counted(project, path)  # the worker comes by once a minute only
        return spooled(project) == 0

    wait_for(emptied, "the spool to be empty")
    there = counted(project, path)
    with kept_away(project, "postgres"):
        assert all(redirects(project, path) for _ in range(ASKED))
        before = map_of(project)  # only now: until then the worker may have written one
        assert project.ask("manifest/statement.json")["status"] == 200, "the origin serves no more"
        status, said = page(project, "/mirrors/public/")
        assert status == 503
        assert "database" in said
        project.installation.run("mirror", "list", accept=(1, 3))
        wait_for(lambda: spooled(project) > 0, "counts to wait in the spool")
        assert map_of(project) == before
        assert redirects(project, path)
    project.installation.wait_until_ready()
    assert redirects(project, path)
    release = project.put({"after/1.iso": b"the database is back"})
    project.publish(release)
    project.wait_until_public(release)
    wait_for(lambda: counted(project, path) >= there + ASKED + 2, "counts to be taken up")
    assert counted(project, path) == there + ASKED + 2, "what waited was counted twice"


def test_the_worker_is_killed_while_it_writes_a_map(project: SmallProject) -> None:
    dice = random.Random(4)
    one = project.mirrors[0]
    for turn in range(KILLS):
        project.installation.run("mirror", "enable" if turn % 2 else "disable", one.name)
        time.sleep(dice.random() * 0.4)
        project.installation.kill_one("worker")
        assert redirects(project)
        project.installation.wait_until_ready()
    project.installation.run("mirror", "disable", one.name)
    wait_for(
        lambda: project.ask(OLD)["mirror"] == project.mirrors[1].address, "the map to leave it out"
    )
    project.installation.run("mirror", "enable", one.name)
    project.wait_until_redirected(OLD, one)
    assert "refused" not in project.log_of("redirector"), "clients were given half a map"


def test_the_redirector_is_killed_and_starts_with_the_map_on_disk(project: SmallProject) -> None:
    for _ in range(KILLS if LONG else 1):
        project.installation.kill_one("redirector")
        wait_for(lambda: redirects(project), "it to redirect again")


def test_the_signer_is_away(project: SmallProject) -> None:
    one, socket = project.mirrors[0], project.home / "farm/run/small/signer/socket"
    said = len(project.log_of("worker"))
    hidden = socket.with_name("away")
    socket.rename(hidden)
    try:
        project.installation.run("mirror", "disable", one.name)
        before = map_of(project)  # only now: one may have been signed just before
        wait_for(
            lambda: "the signer does not answer" in project.log_of("worker")[said:],
            "the log to say so",
        )
        assert map_of(project) == before
        assert redirects(project)
    finally:
        if not socket.exists():
            hidden.rename(socket)
    project.installation.wait_until_ready()
    project.installation.run("mirror", "probe", project.mirrors[1].name)
    project.installation.run("mirror", "enable", one.name)
    project.wait_until_redirected(OLD, one)


def damage(file: Path) -> bytes:
    """Put in a map's place the same with its last byte before the further hashes changed."""
    magic, signature, header, payload = file.read_bytes().split(b"\n", 3)
    content = bytearray(payload)
    end, _ = json.loads(header)["hashes"]
    content[end - 1] ^= 0xFF
    damaged = file.with_name(".damaged")
    put = b"\n".join([magic, signature, header, content])
    damaged.write_bytes(put)
    damaged.chmod(0o644)
    damaged.replace(file)
    return put


@pytest.mark.parametrize("name", ["current", "delta"])
def test_a_map_is_damaged_on_disk(project: SmallProject, name: str) -> None:
    one = project.mirrors[0]
    project.installation.run("mirror", "disable", one.name)
    wait_for(
        lambda: project.ask(OLD)["mirror"] == project.mirrors[1].address, "a delta to be in force"
    )
    file = project.state / "mirror-map" / name
    said, put, weights = len(project.log_of("redirector")), b"", itertools.count(1)

    def refused() -> bool:
        nonlocal put
        if not file.exists() or file.read_bytes() == put:
            # A full map came meanwhile: this one is not read any more. Have another written.
            project.installation.run("mirror", "edit", one.name, "--weight", str(next(weights)))
        else:
            put = damage(file)
        return "refused" in project.log_of("redirector")[said:]

    wait_for(refused, "the log to say why", pause=2)
    project.installation.run("mirror", "edit", one.name, "--weight", "100")
    assert redirects(project)
    project.installation.run("mirror", "enable", one.name)
    project.wait_until_redirected(OLD, one)
    project.installation.run("mirror", "explain", f"{TREE}/{OLD}", "--from", project.client)


@contextmanager
def movable_clock(project: SmallProject) -> Iterator[None]:
    """Have worker and redirector started with a clock that can be moved, until the block ends."""
    project.move_clock(0)
    try:
        for process in ("worker", "redirector"):
            project.installation.kill_one(process)
        project.installation.wait_until_ready()
        yield
    finally:
        project.clock.unlink()
        for process in ("worker", "redirector"):
            project.installation.kill_one(process)
        project.installation.wait_until_ready()
        for left in Path("/dev/shm").glob("*faketime_*"):  # by those that were killed
            if not Path("/proc", left.name.rpartition("_")[2]).exists():
                left.unlink()


def is_time(project: SmallProject, later: int) -> bool:
    """Say whether the redirector answers with the time that is so many seconds later than ours."""
    url = project.installation.status_or_fail()["redirector"]
    command = project.internet.command("curl", "-q", "-s", "-w", "\n%header{date}", url)
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    with suppress(ValueError):  # it may be on its way up
        at = parsedate_to_datetime(said.rpartition("\n")[2])
        return abs(at.timestamp() - time.time() - later) < HOUR / 2
    return False


@pytest.mark.skipif(not LONG, reason="takes a minute: make stories")
def test_the_clock_jumps(project: SmallProject) -> None:
    if not project.may_move_clock:
        pytest.skip("needs Debian's libfaketime")
    one, path = project.mirrors[0], "old/3.iso"
    before = counted(project, path)
    with movable_clock(project):
        for turn, seconds in enumerate((HOUR, -HOUR)):
            project.move_clock(seconds)
            wait_for(partial(is_time, project, seconds), "the redirector to have another time")
            assert redirects(project, path)
            release = project.put({f"clock/{turn}.iso": b"x" * 100})
            project.publish(release)
            project.wait_until_public(release)
            assert abs(project.published_at().timestamp() - time.time() - seconds) < HOUR / 2
            # What was published when it was later may be ours alone again.
            assert all(project.ask(f"clock/{past}.iso")["fetched"] for past in range(turn + 1))
            project.installation.run("mirror", "disable", one.name)
            wait_for(lambda: project.left_out(OLD).keys() == {one.name}, "the map to leave it out")
            project.installation.run("mirror", "enable", one.name)
            wait_for(lambda: not project.left_out(OLD), "the map to have it again")
        project.move_clock(0)
        wait_for(partial(is_time, project, 0), "the redirector to have the right time")
        assert redirects(project, path)
        wait_for(lambda: counted(project, path) >= before + 3, "counts to be taken up")
    assert counted(project, path) == before + 3


def test_two_publish_at_once(project: SmallProject) -> None:
    first, second = (project.put({f"two/{number}.iso": b"x" * number}) for number in (1, 2))
    running = [
        project.installation.lines("tree", "publish", TREE, str(number))
        for number in (second, first)
    ]
    for one in running:
        said, _ = one.communicate(timeout=60)
        assert one.returncode == 0, said
    for number in (first, second):
        project.wait_until_public(number)
    newest = project.installation.json("tree", "history", TREE)[:2]
    assert [one["state"] for one in newest] == ["published"] * 2, "one took the other's place"
    assert newest[0]["published_at"] > newest[1]["published_at"]
    for number in (1, 2):
        assert project.ask(f"two/{number}.iso")["status"] in (200, 302)


def test_the_disk_is_full_in_the_middle_of_a_publish(project: SmallProject) -> None:
    release = project.put({f"full/{number}.iso": os.urandom(2000) for number in range(200)})
    disk = project.home / "disk"
    filler = disk / "filler"
    with filler.open("wb") as out:
        room = os.statvfs(disk)
        with suppress(OSError):
            out.write(bytes(room.f_bavail * room.f_frsize))
    try:
        project.publish(release)

        def waits() -> bool:
            return "space" in str(project.installation.json("tree", "show", TREE)["problem"])

        wait_for(waits, "the tree to say what its publication waits for")
        assert project.ask("full/1.iso")["status"] == 404, "half a release is seen"
        assert redirects(project)
    finally:
        filler.unlink()
    project.wait_until_public(release)
    assert project.ask("full/199.iso")["status"] in (200, 302)


@contextmanager
def told_to_pull(project: SmallProject, mirror: MirrorSite) -> Iterator[None]:
    """Run what a mirror's administrator runs to be told, until the block ends."""
    script, key = project.home / "pull", project.state / "public-keys/statements.pub"
    pull = f"rsync --recursive --links --times {project.rsync} {mirror.files / TREE}/"
    script.write_text(f"#!/bin/sh\nexec {pull}\n")
    script.chmod(0o755)
    command = project.internet.command(
        *(PROGRAM, "mirror", "receive", "--listen", f"{mirror.address}:8787", "--key", key),
        *("--tree", TREE, "--state", project.home / "push.json", "--", script),
    )
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as receiver:
        assert receiver.stderr is not None
        try:
            assert "told of" in receiver.stderr.readline()
            yield
        finally:
            receiver.terminate()


def test_a_mirror_that_is_told_pulls_by_itself(project: SmallProject) -> None:
    one = project.mirrors[0]
    where = ["--push", "webhook", "--push-to", f"http://{one.address}:8787/pull"]
    project.installation.run("mirror", "edit", one.name, *where)
    release = project.put({"pushed/1.iso": b"pushed"})
    with told_to_pull(project, one):
        project.publish(release)
        project.wait_until_redirected("pushed/1.iso", one)
    assert (one.files / TREE / "pushed/1.iso").read_bytes() == b"pushed"
