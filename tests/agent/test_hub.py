"""The agent's HTTP client against the fake hub, and with it the fake itself."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from dataclasses import asdict
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from commonfarm.agent.decode import DecodeError, lease_from
from commonfarm.agent.errors import (
    AgentError,
    BrokenError,
    HubRefusedError,
    HubUnreachableError,
    LeaseOverError,
    StoppedError,
)
from commonfarm.agent.hub import GapError, Hub, checked_url
from commonfarm.agent.log import Log, LogSender, size_and_digest
from commonfarm.agent.protocol import (
    CHUNK_BYTES,
    Buildroot,
    EnrolRequest,
    Facts,
    Lease,
    LeaseRequest,
    PackageSource,
    Report,
    SourceFile,
)

from .conftest import LIMITS
from .fake_hub import FakeHub, Given

FACTS = Facts("amd64", 2, 2**30, 2**30)


def a_lease(*files: bytes, **changes: object) -> tuple[Lease, dict[str, bytes]]:
    contents = {hashlib.sha256(data).hexdigest(): data for data in files or (b"a dsc",)}
    listed = [SourceFile(f"f{n}.dsc", len(d), h) for n, (h, d) in enumerate(contents.items())]
    root = Buildroot("t", "amd64", [PackageSource("http://m/d", "s", ["main"])], "")
    lease = Lease(
        7, 5, "2030-01-01T00:00:00Z", 1.0, root, "hello", "1.0", "f0.dsc", listed, LIMITS, 2
    )
    return Lease(**{**vars(lease), **changes}), contents


@pytest.fixture
def given(hub: FakeHub) -> Given:
    return hub.offer(*a_lease())


@pytest.fixture
def client(hub: FakeHub) -> Hub:
    return Hub(hub.url, hub.credential)


@pytest.mark.parametrize(
    "url",
    ["https://farm.example.org", "http://127.0.0.1:8000/", "http://localhost:80", "http://[::1]"],
)
def test_tls_or_loopback_is_taken(url: str) -> None:
    assert checked_url(url) == url.rstrip("/")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://192.0.2.1/", "plain HTTP to another machine"),
        ("http://127.0.0.1.example.invalid", "plain HTTP to another machine"),
        ("ftp://farm.example.org", "not the address of a hub"),
        ("https://user:pass@farm.example.org", "not the address of a hub"),
        ("farm.example.org", "not the address of a hub"),
        ("https://farm.example.org/?x=1", "query"),
    ],
)
def test_anything_else_is_refused(url: str, reason: str) -> None:
    with pytest.raises(AgentError, match=reason):
        checked_url(url)


def test_a_token_is_good_once(hub: FakeHub) -> None:
    token = hub.token
    given = Hub(hub.url).enrol(EnrolRequest(token, "b7", FACTS))
    assert (given.builder, given.generation, given.scheduler_urls) == ("b7", 1, [hub.url])
    with pytest.raises(HubRefusedError, match=r"unknown or used; ask for a new one"):
        Hub(hub.url).enrol(EnrolRequest(token, "b7", FACTS))


def test_a_lease_comes_once_and_then_nothing(hub: FakeHub, client: Hub, given: Given) -> None:
    request = LeaseRequest(1, FACTS, clean=True, wait_seconds=0.1)
    assert client.lease(hub.url, request) == given.lease
    assert client.lease(hub.url, request) is None
    with pytest.raises(LeaseOverError, match="this generation is past; enrol again"):
        client.lease(hub.url, LeaseRequest(9, FACTS, clean=True))


def test_a_wrong_credential_is_refused(hub: FakeHub) -> None:
    with pytest.raises(HubRefusedError, match="401"):
        Hub(hub.url, "wrong").renew(7)


def test_a_source_file_is_checked_as_it_comes(client: Hub, given: Given, tmp_path: Path) -> None:
    [file] = given.lease.files
    client.fetch(7, file, tmp_path, 5)
    assert (tmp_path / file.name).read_bytes() == b"a dsc"
    given.files[file.sha256] = b"b dsc"
    with pytest.raises(BrokenError, match="not what the lease says"):
        client.fetch(7, file, tmp_path, 5)
    given.files[file.sha256] = b"a d"
    with pytest.raises(HubUnreachableError, match="3 of 5 bytes"):
        client.fetch(7, file, tmp_path, 0)


def test_a_busy_hub_is_asked_again(hub: FakeHub, client: Hub, given: Given, tmp_path: Path) -> None:
    hub.failing = 2
    client.fetch(7, given.lease.files[0], tmp_path, 10)
    assert len(hub.requests) == 3


def test_patience_ends(hub: FakeHub, client: Hub, given: Given, tmp_path: Path) -> None:
    hub.failing = 1000
    with pytest.raises(HubUnreachableError, match="answers 503: the hub is busy"):
        client.fetch(7, given.lease.files[0], tmp_path, 0.5)


def test_a_stopped_agent_does_not_wait_for_a_hub_that_is_away(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    client = Hub("http://127.0.0.1:1", "credential", stop)
    with pytest.raises(StoppedError):
        client.fetch(7, SourceFile("f", 1, "0" * 64), tmp_path, 60)


def test_an_upload_goes_on_from_what_the_hub_has(
    hub: FakeHub, client: Hub, given: Given, tmp_path: Path
) -> None:
    data = os.urandom(CHUNK_BYTES * 2 + 17)
    path = tmp_path / "a.deb"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    given.uploads[sha256] = data[:CHUNK_BYTES]
    client.upload(7, SourceFile("a.deb", len(data), sha256), path, 10)
    assert given.uploads[sha256] == data
    assert sum(method == "PUT" for method, _ in hub.requests) == 2


def test_an_empty_file_is_uploaded(client: Hub, given: Given, tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    size, sha256 = size_and_digest(path)
    client.upload(7, SourceFile("empty", size, sha256), path, 10)
    assert given.uploads == {sha256: b""}


def test_a_file_that_changed_is_refused(client: Hub, given: Given, tmp_path: Path) -> None:
    path = tmp_path / "a.deb"
    path.write_bytes(b"other")
    with pytest.raises(HubRefusedError, match="not what was announced"):
        client.upload(7, SourceFile("a.deb", 5, "0" * 64), path, 10)


def test_a_gap_says_from_where_to_go_on(client: Hub, given: Given) -> None:
    with pytest.raises(GapError) as caught:
        client.send_log(7, 10, b"x")
    assert caught.value.received == 0


def test_a_redirect_to_another_host_is_not_followed(hub: FakeHub, client: Hub) -> None:
    hub.redirect_to = "http://127.0.0.2:9/lease"
    with pytest.raises(HubRefusedError, match="redirects to another host"):
        client.fetch(7, SourceFile("f", 1, "0" * 64), Path("/nonexistent"), 0)


def test_a_log_is_sent_through_failures_and_gaps(
    hub: FakeHub, client: Hub, given: Given, tmp_path: Path
) -> None:
    path = tmp_path / "log"
    log = Log(path, 10**6)
    sender = LogSender(client, 7, path)
    sender.start()
    for n in range(300):
        log.write(f"line {n} {'x' * 1000}\n".encode())
        if n == 100:
            hub.failing = 2
        if n == 200:
            with hub.lock:
                given.log = given.log[:50]
    log.close()
    assert sender.finish(20)
    assert given.log == path.read_bytes()
    assert len(given.log) == log.size == path.stat().st_size


def test_a_log_of_a_lease_that_is_over_is_let_go(client: Hub, given: Given, tmp_path: Path) -> None:
    given.over = True
    (tmp_path / "log").write_bytes(b"text")
    sender = LogSender(client, 7, tmp_path / "log")
    sender.start()
    assert not sender.finish(5)
    assert "the lease is over" in sender.refused


def test_a_report_arrives_whole(client: Hub, given: Given) -> None:
    report = Report(1, "failed", "build", "no", log_bytes=3, facts={"a": [1]})
    client.report(7, report, 5)
    assert given.report == asdict(report)


def test_the_fake_asks_for_a_credential_and_knows_its_leases(hub: FakeHub, given: Given) -> None:
    def status(path: str, credential: str) -> int:
        request = Request(f"{hub.url}{path}", headers={"Authorization": f"Bearer {credential}"})
        try:
            with urlopen(request) as answer:
                return int(answer.status)
        except HTTPError as error:
            with error:
                return error.code

    [sha256] = given.files
    path = f"/api/v1/agent/leases/7/files/{sha256}"
    assert status(path, hub.credential) == 200
    assert status(path, "other") == 401
    assert status(path.replace("/7/", "/8/"), hub.credential) == 404
    given.over = True
    assert status(path, hub.credential) == 410


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dsc", "../../etc/passwd"),
        ("source_name", "a/b"),
        ("source_version", "1.0/.."),
        ("source_version", "1 0"),
        ("id", -1),
        ("id", True),
        ("files", [{"name": ".hidden", "size": 1, "sha256": "0" * 64}]),
        ("files", [{"name": "f0.dsc", "size": 1, "sha256": "../" + "0" * 61}]),
        ("files", []),
        ("limits", {"memory_bytes": "much"}),
        ("build", "source"),
        ("buildroot", None),
    ],
)
def test_a_hostile_lease_is_refused(name: str, value: object) -> None:
    data = json.loads(json.dumps(asdict(a_lease()[0])))
    assert lease_from(data) == a_lease()[0]
    assert lease_from({**data, "of a newer hub": 1}) == a_lease()[0]
    with pytest.raises(DecodeError):
        lease_from({**data, name: value})
