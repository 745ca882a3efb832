"""A redirector that runs out of open files says so, and never that a file is not there."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
from contextlib import ExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest

from commonfarm.redirector import limits
from commonfarm.redirector.origin import Published
from tests.redirector.conftest import DEB
from tests.redirector.world import Edge


def handles(edge: Edge) -> set[int]:
    assert edge.process is not None
    return {int(entry.name) for entry in Path(f"/proc/{edge.process.pid}/fd").iterdir()}


def ask(client: HTTPConnection, path: str) -> tuple[int, str | None, bytes]:
    client.request("GET", path)
    answer = client.getresponse()
    return answer.status, answer.headers["Retry-After"], answer.read()


def test_without_a_free_descriptor_a_file_is_put_off_and_nothing_leaks(serving: Edge) -> None:
    assert serving.process is not None
    client = HTTPConnection("127.0.0.1", serving.port, timeout=10)
    assert ask(client, "/demo/pool/own.deb") == (200, None, DEB)
    assert ask(client, "/demo/pool/a.deb")[0] == 302  # by now the file is closed
    before = handles(serving)
    usual = resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE)
    free = min(set(range(1000)) - before)
    # First the file cannot be opened, then the socket's descriptor cannot be duplicated.
    for soft in (free, free + 1):
        resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE, (soft, usual[1]))
        status, again, body = ask(client, "/demo/pool/own.deb")
        assert (status, again) == (503, "5"), body
        assert b"come again" in body
        assert handles(serving) == before
        assert ask(client, "/demo/pool/a.deb")[0] == 302
    resource.prlimit(serving.process.pid, resource.RLIMIT_NOFILE, usual)
    assert ask(client, "/demo/pool/own.deb") == (200, None, DEB)
    assert ask(client, "/demo/pool/none.deb")[0] == 404


def test_connections_fit_the_files_it_may_have_open(edge: Edge) -> None:
    edge.put("demo/pool/own.deb", DEB)
    edge.start(files="60:120")
    assert edge.process is not None
    assert resource.prlimit(edge.process.pid, resource.RLIMIT_NOFILE) == (120, 120)
    most, _ = limits.fit(120)
    with ExitStack() as stack:
        held = HTTPConnection("127.0.0.1", edge.port, timeout=10)
        assert ask(held, "/demo/pool/own.deb") == (200, None, DEB)
        for _ in range(most - 1):
            idle = socket.create_connection(("127.0.0.1", edge.port), timeout=10)
            stack.enter_context(idle)
        for _ in range(10):
            one_more = stack.enter_context(
                socket.create_connection(("127.0.0.1", edge.port), timeout=10)
            )
            answer = one_more.recv(4096)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nRetry-After: 5\r\n" in answer
        assert ask(held, "/demo/pool/own.deb") == (200, None, DEB)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--places", "/nonexistent.mmdb"], "/nonexistent.mmdb cannot be used to find places"),
        (["--trusted-proxy", "10.0.0.1/8"], "has host bits set"),
        (["--trusted-proxy", "rubbish"], "does not appear to be an IPv4 or IPv6 network"),
        (["--public", "ftp://x"], "is no http or https address"),
        (["--public", "https://x/\r\nX: y"], "is no http or https address"),
        (["--port", "x"], "invalid int value"),
        (["--address", "192.0.2.1"], "cannot start: "),
    ],
)
def test_what_it_cannot_start_with_is_said(tmp_path: Path, options: list[str], why: str) -> None:
    command = [sys.executable, "-m", "commonfarm.redirector", "--port", "0"]
    places = ["--published", tmp_path, "--mirror-map", tmp_path, "--public-key", tmp_path / "key"]
    done = subprocess.run(
        [*command, *map(str, places), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert why in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("files", [0, 64, 256, 1024, 4096, 20_000, 1 << 20])
def test_what_is_served_at_once_leaves_files_to_spare(files: int) -> None:
    connections, transfers = limits.fit(files)
    assert 1 <= transfers <= connections <= limits.MOST_CONNECTIONS
    assert transfers <= limits.MOST_TRANSFERS
    assert connections + 2 * transfers + limits.SPARE_FILES <= max(files, limits.SPARE_FILES + 4)


@pytest.mark.parametrize(
    "path", ["none", "file/below", "loop", "n" * 300, "out", "socket", "folder", "nul\0"]
)
def test_what_may_not_be_given_out_is_not_there(tmp_path: Path, path: str) -> None:
    root = tmp_path / "published"
    (root / "folder").mkdir(parents=True)
    (root / "file").write_bytes(b"x")
    (root / "loop").symlink_to("loop")
    (root / "out").symlink_to("/etc/passwd")
    listening = socket.socket(socket.AF_UNIX)
    here = os.open(root, os.O_RDONLY)
    listening.bind(f"/proc/self/fd/{here}/socket")
    assert Published(root).open(path) is None
    os.close(here)
    listening.close()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.EIO])
def test_what_cannot_be_opened_now_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        Published(tmp_path).open("file")
