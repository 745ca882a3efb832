"""A mirror's end of the push, asked over real sockets: what is taken, what runs, what is left."""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from examples.first.installation import PROGRAM
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.archive import envelopes, push_statement
from commonfarm.lib.errors import BadInputError
from commonfarm.mirrors import receiving
from commonfarm.mirrors.push_statements import (
    MOST_AGE,
    PAYLOAD_TYPE,
    NotTakenError,
    Statement,
    judge,
    read,
)
from commonfarm.mirrors.receiving import MOST_AT_ONCE, Receiver, Server

KEY = Ed25519PrivateKey.generate()
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ENOUGH_SECONDS = 20.0
DOCUMENT = Path(__file__).parents[2] / "docs/how-to/serve-downloads.md"
# What pulls: it says what it was told, holds while it has to, and fails if it has to.
SCRIPT = """\
echo "$COMMONFARM_TREE $COMMONFARM_REVISION $COMMONFARM_STATE" >> "$1/ran"
while [ -e "$1/hold" ]; do sleep 0.02; done
[ ! -e "$1/fail" ]
"""


def said(revision: int = 1, at: datetime = NOW, **other: Any) -> dict[str, Any]:
    """Return a statement as the project makes it."""
    made_at = at.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "push": 1,
        "installation": "sugarlabs",
        "tree": "soas",
        "revision": revision,
        "state": "public",
        "made_at": made_at,
        **other,
    }


def sealed(
    revision: int = 1,
    at: datetime = NOW,
    key: Ed25519PrivateKey = KEY,
    kind: str = PAYLOAD_TYPE,
    **other: Any,
) -> bytes:
    return envelopes.seal(json.dumps(said(revision, at, **other)).encode(), kind, key)


def until(true: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + ENOUGH_SECONDS
    while not true():
        assert time.monotonic() < deadline, f"waited for {what}"
        time.sleep(0.01)


@dataclass
class Told:
    """A folder with the command that pulls, and how it is to behave."""

    folder: Path
    command: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        script = self.folder / "pull"
        script.write_text(SCRIPT)
        self.command = ["/bin/sh", str(script), str(self.folder)]

    @property
    def file(self) -> Path:
        return self.folder / "state.json"

    def ran(self) -> list[str]:
        file = self.folder / "ran"
        return file.read_text().splitlines() if file.exists() else []

    def hold(self) -> None:
        (self.folder / "hold").touch()

    def release(self) -> None:
        (self.folder / "hold").unlink()

    def is_done(self) -> bool:
        return not json.loads(self.file.read_text())["left"]


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


@dataclass
class Running:
    """A receiver that serves, and a client of it."""

    server: Server
    receiver: Receiver

    def post(self, body: bytes, **headers: str) -> tuple[int, str]:
        connection = http.client.HTTPConnection(*self.where, timeout=ENOUGH_SECONDS)
        try:
            connection.request("POST", "/hooks/pull", body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    @property
    def where(self) -> tuple[str, int]:
        return "127.0.0.1", self.server.server_port


@contextmanager
def serving(told: Told, clock: Callable[[], datetime] = lambda: NOW) -> Iterator[Running]:
    receiver = Receiver("soas", KEY.public_key(), told.command, told.file)
    receiver.start()
    with Server(("127.0.0.1", 0), receiver, clock) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield Running(server, receiver)
        finally:
            server.shutdown()
            thread.join()
            receiver.stop()


@pytest.fixture
def running(told: Told) -> Iterator[Running]:
    with serving(told) as found:
        yield found


def test_a_statement_has_the_command_run_with_what_it_says(running: Running, told: Told) -> None:
    assert running.post(sealed(7, state="staged")) == (202, "it is pulled\n")
    until(lambda: told.file.exists() and told.is_done(), "the command to end")
    assert told.ran() == ["soas 7 staged"]
    # The sender did not hear us, and says it again.
    assert running.post(sealed(7, state="staged")) == (200, "it was taken before\n")
    # The same revision is public now.
    assert running.post(sealed(7, NOW + timedelta(seconds=9)))[0] == 202
    until(lambda: told.ran() == ["soas 7 staged", "soas 7 public"], "the second run")


@pytest.mark.parametrize("state", ["public", "staged"])
def test_what_the_farm_signs_is_taken(running: Running, state: str) -> None:
    made = push_statement.PushStatement("sugarlabs", "soas", 3, state, NOW)
    assert read(push_statement.seal(made, KEY), KEY.public_key()) == Statement(
        "sugarlabs", "soas", 3, state, NOW
    )
    assert running.post(push_statement.seal(made, KEY))[0] == 202


def test_a_sender_that_waits_to_be_asked_for_the_body_is_asked(running: Running) -> None:
    with socket.create_connection(running.where, ENOUGH_SECONDS) as client:
        body = sealed()
        head = f"POST / HTTP/1.1\r\nHost: m\r\nExpect: 100-continue\r\nContent-Length: {len(body)}"
        client.sendall(f"{head}\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        assert client.recv(100).startswith(b"HTTP/1.1 202 ")


@pytest.mark.parametrize(
    ("body", "status", "why"),
    [
        (b"", 400, "no DSSE envelope"),
        (b"[]", 400, "no DSSE envelope"),
        (b"[" * 9000, 400, "no DSSE envelope"),
        (b'{"payloadType":"x","payload":"!","signatures":[]}', 400, "no DSSE envelope"),
        (b'{"payloadType":"x","payload":"","signatures":7}', 400, "no DSSE envelope"),
        (b'{"payloadType":"x","payload":"","signatures":[]}', 403, "not signed"),
        (sealed(key=Ed25519PrivateKey.generate()), 403, "not signed"),
        (sealed(kind="application/vnd.commonfarm.manifest+json"), 400, "no application/vnd"),
        (sealed(push=2), 400, "newer sender"),
        (sealed(state="$(id)"), 400, "newer sender"),
        (sealed(revision=-1), 400, "newer sender"),
        (sealed(revision=True), 400, "newer sender"),
        (sealed(revision=2**63), 400, "newer sender"),
        (sealed(made_at="yesterday"), 400, "newer sender"),
        (sealed(tree="so\nas"), 400, "newer sender"),
        (sealed(tree="activities"), 403, "told of soas"),
        (sealed(at=NOW - MOST_AGE - timedelta(seconds=1)), 409, "make a new one"),
        (sealed(at=NOW + timedelta(minutes=6)), 409, "set the clocks right"),
        (b"x" * 16385, 413, "more than the 16384"),
    ],
)
def test_anything_else_is_refused_and_said_why(
    running: Running, told: Told, body: bytes, status: int, why: str, caplog: Any
) -> None:
    found, text = running.post(body)
    assert (found, why in text) == (status, True), text
    assert not told.file.exists()
    assert any(why in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Length": "+3"}, {"Transfer-Encoding": "chunked"}]
)
def test_a_body_of_unknown_length_is_not_read(running: Running, headers: dict[str, str]) -> None:
    connection = http.client.HTTPConnection(*running.where, timeout=ENOUGH_SECONDS)
    connection.putrequest("POST", "/")
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    assert connection.getresponse().status == 411
    connection.close()


def test_an_old_statement_is_not_taken_again(running: Running, told: Told) -> None:
    assert running.post(sealed(5))[0] == 202
    later = NOW + timedelta(seconds=60)
    assert running.post(sealed(6, later))[0] == 202
    assert running.post(sealed(5))[0] == 409
    assert running.post(sealed(5, later + timedelta(seconds=1)))[0] == 409
    assert "was taken already" in running.post(sealed(7, NOW))[1]
    until(lambda: told.ran()[-1:] == ["soas 6 public"], "the newest to be pulled")
    assert "soas 7 public" not in told.ran()


def test_one_runs_at_a_time_and_of_those_that_wait_the_newest(running: Running, told: Told) -> None:
    told.hold()
    for number in range(1, 6):
        assert running.post(sealed(number, NOW + timedelta(seconds=number)))[0] == 202
        until(lambda: told.ran() == ["soas 1 public"], "the first to begin, and no other")
    told.release()
    until(lambda: len(told.ran()) == 2 and told.is_done(), "the newest to be pulled")
    assert told.ran() == ["soas 1 public", "soas 5 public"]


def test_what_is_staged_meanwhile_does_not_stand_for_what_is_public(
    running: Running, told: Told
) -> None:
    told.hold()
    states = ("public", "staged", "public", "staged")
    for number, state in enumerate(states):
        body = sealed(number, NOW + timedelta(seconds=number), state=state)
        assert running.post(body)[0] == 202
        until(lambda: told.ran() == ["soas 0 public"], "the first to begin, and no other")
    told.release()
    until(lambda: len(told.ran()) == 3 and told.is_done(), "both to be pulled")
    assert told.ran() == ["soas 0 public", "soas 2 public", "soas 3 staged"]


def test_a_pull_that_failed_is_done_again_at_the_next_start(told: Told) -> None:
    (told.folder / "fail").touch()
    with serving(told) as running:
        running.post(sealed(3))
        until(lambda: len(told.ran()) == 1, "the command to run")
    assert not told.is_done()
    (told.folder / "fail").unlink()
    with serving(told):
        until(told.is_done, "the command to end well")
    with serving(told) as running:
        assert running.post(sealed(3))[0] == 200
        assert running.post(sealed(2, NOW))[0] == 409
    assert told.ran() == ["soas 3 public"] * 2


def test_what_cannot_be_written_down_is_not_taken(running: Running, told: Told) -> None:
    shutil.rmtree(told.folder)
    status, text = running.post(sealed())
    assert (status, "written down" in text) == (503, True)
    told.folder.mkdir()
    told.__post_init__()
    assert running.post(sealed())[0] == 202


def test_a_program_that_is_gone_is_said_and_the_next_push_runs_it(told: Told, caplog: Any) -> None:
    told.command[0] = str(told.folder / "sh")
    with serving(told) as running:
        assert running.post(sealed())[0] == 202
        until(lambda: "cannot be started" in caplog.text, "the log to say so")
        (told.folder / "sh").symlink_to("/bin/sh")
        assert running.post(sealed(2))[0] == 202
        until(told.is_done, "the command to end well")
    assert told.ran() == ["soas 2 public"]


def test_idle_connections_leave_no_room_but_for_a_while(
    told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiving, "REQUEST_SECONDS", 0.3)
    with serving(told) as running:
        idle = [socket.create_connection(running.where) for _ in range(MOST_AT_ONCE)]
        for one in idle:
            one.sendall(b"POST / HTTP/1.1\r\n")

        def taken() -> bool:
            try:
                return running.post(sealed())[0] in (200, 202)
            except (OSError, http.client.HTTPException):
                return False

        until(taken, "the idle ones to be hung up on")
        for one in idle:
            one.close()


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b'{"newest":{},"left":[]}', b"\xff"])
def test_a_damaged_state_is_not_taken_for_none(told: Told, damage: bytes) -> None:
    told.file.write_bytes(damage)
    with pytest.raises(BadInputError, match="is damaged, or not ours"):
        Receiver("soas", KEY.public_key(), told.command, told.file)


def test_the_state_of_another_tree_is_not_taken(told: Told) -> None:
    with serving(told) as running:
        running.post(sealed())
    with pytest.raises(BadInputError, match="is of the tree soas"):
        Receiver("activities", KEY.public_key(), told.command, told.file)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
WHOLE = json.loads(sealed())


@given(st.sampled_from(sorted(WHOLE)), json_values)
@settings(deadline=None, max_examples=60)
def test_whatever_stands_in_an_envelope_it_is_refused(name: str, value: Any) -> None:
    if value == WHOLE[name]:
        return
    with pytest.raises(NotTakenError):
        read(json.dumps(WHOLE | {name: value}).encode(), KEY.public_key())


@given(st.sampled_from(sorted(said())), json_values)
@settings(deadline=None, max_examples=60)
def test_whatever_is_signed_it_is_a_statement_or_refused(name: str, value: Any) -> None:
    body = envelopes.seal(json.dumps(said() | {name: value}).encode(), PAYLOAD_TYPE, KEY)
    try:
        found = read(body, KEY.public_key())
    except NotTakenError:
        return
    assert found.state in ("public", "staged")
    assert all(isinstance(one, str) and one.isprintable() for one in (found.tree, found.state))


times = st.integers(0, 3).map(lambda minutes: NOW + timedelta(minutes=minutes))


@given(st.lists(st.tuples(st.integers(0, 3), times), max_size=12))
@settings(deadline=None)
def test_whatever_comes_the_revision_taken_never_falls(order: list[tuple[int, datetime]]) -> None:
    newest: Statement | None = None
    for revision, made_at in order:
        statement = Statement("i", "soas", revision, "public", made_at)
        try:
            taken = judge(statement, "soas", newest, NOW)
        except NotTakenError:
            continue
        if taken and newest is not None:
            assert revision >= newest.revision
            assert made_at >= newest.made_at
        newest = statement


# The command as a mirror's administrator runs it.


@contextmanager
def received(told: Told, key: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        *(str(PROGRAM), "mirror", "receive", "--listen", f"127.0.0.1:{port}"),
        *("--key", str(key), "--tree", "soas", "--state", str(told.file), "--", *told.command),
    ]
    with subprocess.Popen(command) as process:
        try:

            def answers() -> bool:
                assert process.poll() is None
                with socket.socket() as probe:
                    return probe.connect_ex(("127.0.0.1", port)) == 0

            until(answers, "it to listen")
            yield process
        finally:
            process.kill()


def post(port: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ENOUGH_SECONDS)
    connection.request("POST", "/", body)
    status = connection.getresponse().status
    connection.close()
    return status


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "statements.pub"
    public = KEY.public_key()
    file.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return file


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_killed_in_a_pull_it_goes_on_after_the_one_that_is_left(
    told: Told, key_file: Path, port: int
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    told.hold()
    with received(told, key_file, port) as process:
        assert post(port, sealed(1, now)) == 202
        until(lambda: len(told.ran()) == 1, "the command to begin")
        process.kill()
    with received(told, key_file, port) as process:
        assert post(port, sealed(1, now)) == 200
        assert post(port, sealed(2, now)) == 202
        assert told.ran() == ["soas 1 public"], "two pulled at once"
        told.release()
        until(lambda: len(told.ran()) == 2 and told.is_done(), "the pull to be done")
        assert told.ran() == ["soas 1 public", "soas 2 public"]
        told.hold()
        assert post(port, sealed(3, now)) == 202
        until(lambda: len(told.ran()) == 3, "the command to begin")
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENOUGH_SECONDS) == 0, "it did not end its command"
    assert not told.is_done()


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"--listen": "8787"}, "'8787' is none"),
        ({"--listen": "192.0.2.7:8787"}, "cannot be listened on"),
        ({"--key": "/nonexistent"}, "cannot be read"),
        ({"--tree": "../x"}, "is no name of a tree"),
        ({"--": "no-such-program"}, "there is no program"),
    ],
)
def test_what_cannot_be_used_is_said(
    told: Told, key_file: Path, port: int, options: dict[str, str], what: str
) -> None:
    given = {"--listen": f"127.0.0.1:{port}", "--key": str(key_file), "--tree": "soas"}
    given |= {"--state": str(told.file), "--": "true"} | options
    words = [word for pair in given.items() for word in pair]
    done = subprocess.run(
        [str(PROGRAM), "mirror", "receive", *words], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert what in done.stderr
    assert "Traceback" not in done.stderr


def blocks(document: Path, heading: str) -> str:
    """Return the commands that stand below a heading."""
    section = document.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"^```sh\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("change", ["", "payload", "signature", "key"])
def test_openssl_alone_verifies_it_as_the_guide_says(
    tmp_path: Path, key_file: Path, change: str
) -> None:
    body = json.loads(sealed(7))
    if change == "payload":
        body["payload"] = base64.b64encode(json.dumps(said(8)).encode()).decode()
    if change == "signature":
        body["signatures"][0]["sig"] = base64.b64encode(bytes(64)).decode()
    if change == "key":
        body = json.loads(sealed(7, key=Ed25519PrivateKey.generate()))
    (tmp_path / "push.json").write_text(json.dumps(body))
    script = blocks(DOCUMENT, "Verify a push without Commonfarm")
    assert "openssl" in script
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert (done.returncode == 0) is (change == ""), done.stdout + done.stderr
    if not change:
        assert '"revision": 7' in done.stdout
