"""The errands of `up` give the admin's token to our own hub alone, and outlive what goes wrong."""

from __future__ import annotations

import os
import pwd
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from commonfarm.http.session import token_file
from commonfarm.installation import launch, users
from commonfarm.installation.errands import Errands
from commonfarm.installation.supervised import Supervised
from commonfarm.lib.config import Config, Listen, default

TOKEN = b"the-token-of-an-admin"


class Stranger:
    """A server that keeps what it is sent, and answers what no HTTP server would."""

    def __init__(self) -> None:
        self.heard = b""
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            with connection:
                self.heard += connection.recv(65536)
                connection.sendall(b"220 what do you want\r\n")


@pytest.fixture
def stranger() -> Iterator[Stranger]:
    one = Stranger()
    yield one
    one.socket.close()


@pytest.fixture
def config(tmp_path: Path, stranger: Stranger) -> Config:
    ports = Listen("127.0.0.1", stranger.port, 2, 3, 4)
    config = default("one", tmp_path / "one.toml", tmp_path, tmp_path / "run", ports)
    token_file(config).write_bytes(TOKEN)
    return config


@pytest.fixture
def run(config: Config) -> Iterator[Callable[[], tuple[Errands, list[str]]]]:
    """Run errands beside a hub that is said to answer; return them and what they say."""
    started: list[Errands] = []

    def start() -> tuple[Errands, list[str]]:
        hub, agent = (
            Supervised(launch.Process(name, ["true"], lambda: True), config, wanted=False)
            for name in ("hub", "agent")
        )
        hub.answers = True
        said: list[str] = []
        errands = Errands(config, hub, agent, None, said.append)
        started.append(errands)
        errands.start()
        deadline = time.monotonic() + 30
        while not said:
            assert errands.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return errands, said

    yield start
    for one in started:
        one.end()
        one.join()


@pytest.mark.root
def test_a_stranger_on_the_port_of_the_hub_gets_no_token(
    config: Config, stranger: Stranger, run: Callable[[], tuple[Errands, list[str]]]
) -> None:
    if os.getuid():
        pytest.skip("needs root: a hub that is another user than this test")
    users.ensure()
    _, said = run()
    assert f"port {stranger.port} of hub is in use by another program" in said[0]
    assert f"listen.hub in {config.file}" in said[0]
    assert stranger.heard == b""


def test_what_nobody_foresaw_is_said_once_and_they_go_on(
    config: Config, run: Callable[[], tuple[Errands, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("commonfarm.installation.errands.RETRY_SECONDS", 0.01)
    token_file(config).write_bytes(b"\xff")
    errands, said = run()
    errands.join(0.5)
    assert errands.is_alive()
    (only,) = said
    assert only.startswith("the local builder waits: UnicodeDecodeError: ")


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "0.0.0.0"])
def test_a_listener_is_known_by_its_user_address_and_port(address: str) -> None:
    me = pwd.getpwuid(os.getuid()).pw_name
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        ours = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip(f"this machine has no {address}")
    with ours:
        port = ours.getsockname()[1]
        assert launch.is_listened_to_by(me, address, port)
        assert not launch.is_listened_to_by("daemon", address, port)
        assert not launch.is_listened_to_by(me, "127.0.0.2", port)
    assert not launch.is_listened_to_by(me, address, port)


def test_what_is_no_http_server_does_not_answer(stranger: Stranger) -> None:
    assert not launch.http_answers("127.0.0.1", stranger.port, "/")
