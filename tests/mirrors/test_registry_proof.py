"""Control of a mirror is shown by a file at each of its addresses, and by nothing less."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from commonfarm.archive.models import TreeFile
from commonfarm.estate.interface import ReleaseTree
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import Reason
from commonfarm.mirrors import proof, registry_tasks
from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.models import Mirror
from tests.mirrors.registered import NOW, jobs, published
from tests.web.served import free_ports

HERE = Policy(loopback_allowed=True, own_ports=frozenset())
OUTSIDE = Policy(loopback_allowed=False, own_ports=frozenset())


@dataclass
class Server:
    """A web server that gives one answer to everything."""

    url: str = ""
    status: int = 200
    body: bytes = b""
    location: str = ""


@pytest.fixture
def web() -> Iterator[Server]:
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(server.status)
            if server.location:
                self.send_header("Location", server.location)
            self.send_header("Content-Length", str(len(server.body)))
            self.end_headers()
            self.wfile.write(server.body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        server.url = f"http://127.0.0.1:{running.server_port}/pub/"
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        running.shutdown()
        thread.join()


def missing(web: Server, policy: Policy = HERE) -> Reason | None:
    return proof.missing([web.url], "cf_mirror_abc", policy)


def test_the_token_is_a_word_of_the_file(web: Server) -> None:
    for body in (b"cf_mirror_abc", b"cf_mirror_abc\r\n", b"other\ncf_mirror_abc\n"):
        web.body = body
        assert missing(web) is None, body


@pytest.mark.parametrize(
    ("status", "body", "location", "code"),
    [
        (200, b"", "", "proof-differs"),
        (200, b"cf_mirror_abcd", "", "proof-differs"),
        (200, b"<title>/pub/commonfarm-mirror.txt</title>", "", "proof-differs"),
        (200, b"\xff\xfe\x00", "", "proof-differs"),
        (404, b"cf_mirror_abc", "", "proof-not-there"),
        (200, b"cf_mirror_abc " * 1000, "", "proof-not-there"),
        (302, b"cf_mirror_abc", "http://127.0.0.1:1/x", "proof-not-there"),
    ],
)
def test_nothing_else_shows_it(
    web: Server, status: int, body: bytes, location: str, code: str
) -> None:
    web.status, web.body, web.location = status, body, location
    found = missing(web)
    assert found is not None
    assert found.code == code
    assert found.lifted_by


def test_an_address_is_judged_when_it_is_asked(web: Server) -> None:
    web.body = b"cf_mirror_abc"
    for url in (web.url, web.url.replace("127.0.0.1", "localhost")):
        found = proof.missing([url], "cf_mirror_abc", OUTSIDE)
        assert found is not None and "1 is not a public address" in found.text, url
    found = proof.missing(["rsync://127.0.0.1/pub/"], "cf_mirror_abc", OUTSIDE)
    assert found is not None and found.code == "proof-address-refused"


@pytest.fixture
def rsync(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A real rsync server with a module `pub`."""
    folder, [port] = tmp_path / "pub", free_ports(1)
    folder.mkdir()
    config = tmp_path / "rsyncd.conf"
    config.write_text(f"use chroot = no\n[pub]\npath = {folder}\n")
    command = ["rsync", "--daemon", "--no-detach", "--address=127.0.0.1", f"--port={port}"]
    running = subprocess.Popen(
        [*command, f"--config={config}", "--log-file=/dev/null"],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port, running)
        yield f"rsync://127.0.0.1:{port}/pub/", folder
    finally:
        running.kill()
        running.wait()


def wait_for(port: int, process: subprocess.Popen[Any]) -> None:
    from tests.web import served

    served._wait(port, process)


def test_each_address_of_a_name_is_tried_by_rsync(
    rsync: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = rsync
    (folder / proof.FILE).write_text("cf_mirror_abc\n")
    monkeypatch.setattr(proof, "addresses_of", lambda *_: ("127.0.0.2", "127.0.0.1"))
    assert proof.missing([url], "cf_mirror_abc", HERE) is None


def test_rsync_shows_it_too(rsync: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = rsync
    file = folder / proof.FILE

    def found() -> str:
        reason = proof.missing([url], "cf_mirror_abc", HERE)
        return reason.code if reason else "shown"

    assert found() == "proof-not-there"
    file.write_text("cf_mirror_abc\n")
    assert found() == "shown"
    file.write_text("cf_mirror_xyz\n")
    assert found() == "proof-differs"
    file.write_bytes(b"cf_mirror_abc " * 10_000)
    assert found() == "proof-not-there"
    file.unlink()
    file.symlink_to("/etc/hostname")
    assert found() == "proof-not-there"
    file.unlink()
    file.mkdir()
    assert found() == "proof-not-there"


@pytest.fixture
def demo(db: None) -> ReleaseTree:
    return published()


def waiting(demo: ReleaseTree, web: Server, **fields: Any) -> Mirror:
    mirror = Mirror.add("north", demo, {"http": web.url, "country": "DE", **fields}, who="user:a")
    Mirror.objects.update(added_at=NOW)
    return mirror


def test_the_worker_proves_a_mirror_and_looks_at_it(demo: ReleaseTree, web: Server) -> None:
    mirror = waiting(demo, web)
    assert list(proof.due(NOW)) == [mirror]
    assert not proof.prove(mirror.pk, HERE, NOW)
    mirror.refresh_from_db()
    assert f"{web.url}commonfarm-mirror.txt does not hold the token" in mirror.proof_problem
    assert list(proof.due(NOW)) == []
    assert list(proof.due(NOW + 2 * proof.AGAIN)) == [mirror]
    assert list(proof.due(NOW + timedelta(days=40))) == []
    web.body = mirror.token.encode()
    assert proof.prove(mirror.pk, HERE, NOW)
    mirror.refresh_from_db()
    assert (mirror.proved_at, mirror.proof_problem) == (NOW, "")
    assert Entry.objects.get(what="mirror proved").details == {"how": "file"}
    assert not proof.prove(mirror.pk, HERE, NOW)


def test_the_task_goes_on_to_probe_and_scan(
    demo: ReleaseTree, web: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = waiting(demo, web)
    web.body = mirror.token.encode()
    monkeypatch.setattr(Policy, "of", lambda _: HERE)
    registry_tasks.prove_due(0)
    assert jobs() == ["mirrors.prove"]
    registry_tasks.prove(mirror.pk)
    assert {"mirrors.probe", "mirrors.scan", "mirrors.write_map"} <= set(jobs())


def test_every_address_is_asked(demo: ReleaseTree, web: Server) -> None:
    mirror = waiting(demo, web, rsync_url="rsync://127.0.0.1:1/pub/")
    web.body = mirror.token.encode()
    assert not proof.prove(mirror.pk, HERE, NOW)
    mirror.refresh_from_db()
    assert mirror.proof_problem.startswith("rsync://127.0.0.1:1/pub/commonfarm-mirror.txt: rsync:")


def test_an_edit_meanwhile_takes_the_proof_back(
    demo: ReleaseTree, web: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = waiting(demo, web)

    def look(*_: object) -> None:
        Mirror.named("north").edit({"http": "http://victim.example.org/"}, who="user:b")

    monkeypatch.setattr(proof, "missing", look)
    assert not proof.prove(mirror.pk, HERE, NOW)
    assert Mirror.named("north").proved_at is None


def test_a_file_that_the_tree_has_shows_nothing(demo: ReleaseTree, web: Server) -> None:
    mirror = waiting(demo, web, subtree="soas")
    web.body = mirror.token.encode()
    TreeFile.objects.create(
        tree=demo, path="soas/commonfarm-mirror.txt", size=1, sha256="0" * 64, since_revision=1
    )
    assert not proof.prove(mirror.pk, HERE, NOW)
    mirror.refresh_from_db()
    assert "has a file soas/commonfarm-mirror.txt itself" in mirror.proof_problem
