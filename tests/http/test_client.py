"""The command line's client before a hub that misbehaves: a sentence each, and no traceback."""

from __future__ import annotations

import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from commonfarm.http.client import HubClient
from commonfarm.http.session import hub
from commonfarm.lib.errors import BadInputError, ExitCode, NotFoundError, UnreachableError
from commonfarm.lib.secret import Secret


class Misbehaving:
    """Answers every request with the same bytes, and hangs up: politely, or by a reset."""

    def __init__(self) -> None:
        self.answer, self.reset = b"", False
        self.asked: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listening.accept()
            with client:
                asked = client.recv(65536)
                if not asked:
                    return
                self.asked.append(asked)
                client.sendall(self.answer)
                if self.reset:
                    linger = struct.pack("ii", 1, 0)
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def stop(self) -> None:
        with socket.create_connection(self._listening.getsockname()):
            pass
        self._thread.join()
        self._listening.close()


@pytest.fixture
def server() -> Iterator[Misbehaving]:
    running = Misbehaving()
    yield running
    running.stop()


def client_of(server: Misbehaving) -> HubClient:
    return HubClient(server.url, Secret("token"))


HTML = b"<!doctype html><title>Welcome to the hotel</title>"
OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize("body", [HTML, b"\xff\xfe", b"{"])
def test_what_is_no_json_comes_from_no_hub(server: Misbehaving, body: bytes) -> None:
    server.answer = OK + b"Content-Length: %d\r\n\r\n" % len(body) + body
    client = client_of(server)
    calls: list[Callable[[], object]] = [
        lambda: client.get("/x"),
        lambda: client.post("/x"),
        lambda: client.patch("/x", {}),
        lambda: client.put_bytes("/x", b"y"),
        lambda: list(client.pages("/x")),
    ]
    for call in calls:
        with pytest.raises(UnreachableError, match="is no hub"):
            call()
    server.answer = b"HTTP/1.1 404 Gone\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with pytest.raises(NotFoundError, match=r"/x answers 404 Gone; see that .* of a hub"):
        client.get("/x")


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        OK + b"Content-Length: 100\r\n\r\n{",
        OK + b"Transfer-Encoding: chunked\r\n\r\n20\r\n{",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 100\r\n\r\n{",
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 4\r\n\r\n[12]",
    ],
)
def test_an_answer_that_breaks_off_is_a_hub_not_reached(
    server: Misbehaving, answer: bytes, reset: bool
) -> None:
    server.answer, server.reset = answer, reset
    client = client_of(server)
    calls: list[Callable[[], object]] = [
        lambda: client.get("/x"),
        lambda: client.post("/x"),
        lambda: client.patch("/x", {}),
    ]
    for call in calls:
        with pytest.raises(UnreachableError) as unreachable:
            call()
        assert unreachable.value.exit_code == ExitCode.UNREACHABLE


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("farm.example.org", "write https://"),
        ("localhost:8000", "write https://"),
        ("ftp://farm.example.org", "write https://"),
        ("http://192.0.2.1:8000", "plain HTTP to another machine"),
        ("http://[::1", "Invalid IPv6"),
    ],
)
def test_an_address_that_is_none_or_is_not_safe_is_refused(
    monkeypatch: pytest.MonkeyPatch, url: str, says: str
) -> None:
    monkeypatch.setenv("COMMONFARM_HUB", url)
    monkeypatch.setenv("COMMONFARM_TOKEN", "token")
    with pytest.raises(BadInputError, match=says) as refused:
        hub()
    assert str(refused.value).startswith("COMMONFARM_HUB: ")


@pytest.mark.parametrize(
    "url", ["https://farm.example.org/", "http://127.0.0.1:8000", "http://[::1]:8000"]
)
def test_tls_and_loopback_are_fine(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("COMMONFARM_HUB", url)
    monkeypatch.setenv("COMMONFARM_TOKEN", "token")
    assert hub().url == url.rstrip("/")


def test_a_hub_without_a_token_is_not_taken_for_the_one_here() -> None:
    environment = {key: value for key, value in os.environ.items() if key != "COMMONFARM_TOKEN"}
    done = subprocess.run(
        [sys.executable, "-m", "commonfarm.cli.main", "builds"],
        env=environment | {"COMMONFARM_HUB": "https://farm.example.org"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == ExitCode.BAD_INPUT, done.stderr
    assert done.stderr.startswith("COMMONFARM_HUB: it is set, and COMMONFARM_TOKEN is not; set ")


def test_the_token_goes_to_nobody_that_the_hub_names(server: Misbehaving) -> None:
    other = Misbehaving()
    try:
        other.answer = OK + b"Content-Length: 2\r\n\r\n{}"
        server.answer = (
            b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: "
            + other.url.encode()
            + b"\r\n\r\n"
        )
        client_of(server).get("/x")
    finally:
        other.stop()
    assert b"Bearer token" in server.asked[0]
    assert other.asked and b"token" not in other.asked[0]


def test_a_hub_on_loopback_is_asked_without_a_proxy(
    server: Misbehaving, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = Misbehaving()
    try:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        server.answer = OK + b"Content-Length: 2\r\n\r\n{}"
        assert client_of(server).get("/x") == {}
    finally:
        proxy.stop()
    assert proxy.asked == []
