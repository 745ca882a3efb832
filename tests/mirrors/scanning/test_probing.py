"""Up is what serves a known file, by HEAD and in part, over just this scheme and family."""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from commonfarm.mirrors.scanning import Code, Limits, Outcome, Probed, Wanted, asking, probe
from tests.mirrors.scanning.certificates import Authority
from tests.mirrors.scanning.hostile import (
    LOCAL,
    PUBLIC,
    Answer,
    Asked,
    answer,
    dripping,
    saying,
    without_end,
)
from tests.mirrors.scanning.servers import free_port, nginx

SHORT = Limits(connect_seconds=5, silence_seconds=5, request_seconds=5, total_seconds=20)
FILE = Wanted("pool/a.deb", 200_000)
DEB = "application/octet-stream"
NAME = "mirror.example.org"


def serving(*paths: str, size: int = FILE.size) -> Answer:
    """Serve files of one size well."""

    def say(asked: Asked) -> bytes:
        if asked.path[1:] not in (paths or (FILE.path,)):
            return answer(status=404)
        if asked.method == "HEAD":
            return answer(kind=DEB, Content_Length=str(size))
        assert asked.headers["range"] == f"bytes=0-{size - 1}"
        told = f"bytes 0-{size - 1}/{size}"
        return answer(bytes(size), kind=DEB, status=206, Content_Range=told)

    return say


def http4(url: str, *known: Wanted, limits: Limits = SHORT) -> Outcome:
    outcome = probe(url, "", known or [FILE], LOCAL, limits).http4
    assert outcome is not None
    return outcome


def code(outcome: Outcome | None) -> str:
    assert outcome is not None and outcome.problem is not None and not outcome.ok
    assert outcome.problem.text
    return outcome.problem.code


@pytest.fixture
def named(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Let mirror.example.org stand for addresses of our choice."""

    def stands_for(*addresses: str) -> None:
        def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
            return [
                (
                    socket.AF_INET6 if ":" in one else socket.AF_INET,
                    socket.SOCK_STREAM,
                    6,
                    "",
                    (one, port, 0, 0) if ":" in one else (one, port),
                )
                for one in addresses
            ]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return stands_for


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Authority]:
    made = Authority(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(made.file))
    asking.trusted.cache_clear()
    yield made
    asking.trusted.cache_clear()


def test_a_real_mirror_is_up_and_measured(tmp_path: Path) -> None:
    (tmp_path / "tree/pool").mkdir(parents=True)
    (tmp_path / "tree" / FILE.path).write_bytes(bytes(FILE.size))
    with nginx(tmp_path / "home", tmp_path / "tree") as url:
        probed = probe(url, "", [FILE], LOCAL)
    assert probed.http4 is not None and probed.http4.ok
    assert probed.http4.ranges and probed.http4.bytes_per_second > 0
    assert 0 < probed.http4.latency_seconds < 20
    assert code(probed.http6) == Code.NO_ADDRESS
    assert (probed.https4, probed.https6) == (None, None)
    assert [name for name, _ in probed.outcomes()] == ["http4", "http6"]


def test_each_family_is_asked_by_itself(named: Callable[..., None]) -> None:
    with saying(serving()) as four:
        named("127.0.0.1")
        probed = probe(f"http://{NAME}:{four.port}/", "", [FILE], LOCAL, SHORT)
        assert probed.http4 is not None and probed.http4.ok
        assert code(probed.http6) == Code.NO_ADDRESS
        # It has an IPv6 address, but nothing listens there.
        named("127.0.0.1", "::1")
        probed = probe(f"http://{NAME}:{four.port}/", "", [FILE], LOCAL, SHORT)
        assert probed.http4 is not None and probed.http4.ok
        assert code(probed.http6) == Code.NOT_REACHED
    with saying(serving(), host="::1") as six:
        probed = probe(six.url, "", [FILE], LOCAL, SHORT)
        assert probed.http6 is not None and probed.http6.ok
        assert code(probed.http4) == Code.NO_ADDRESS


def test_a_network_that_this_machine_lacks_is_not_the_mirrors_fault(
    named: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.socket.connect

    def connect(self: socket.socket, place: Any) -> None:
        if self.family == socket.AF_INET6:
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        real(self, place)

    monkeypatch.setattr("socket.socket.connect", connect)
    for six in (["::1"], ["::1", "2001:4860:4860::8888"]):
        named("127.0.0.1", *six)
        with saying(serving()) as server:
            probed = probe(f"http://{NAME}:{server.port}/", "", [FILE], LOCAL, SHORT)
        assert probed.http4 is not None and probed.http4.ok
        assert code(probed.http6) == Code.NO_ROUTE


def test_one_file_that_a_mirror_lacks_does_not_take_it_down() -> None:
    known = [Wanted("gone", FILE.size), Wanted("late", FILE.size), FILE]
    with saying(serving()) as server:
        assert http4(server.url, *known).ok
        assert server.paths == ["/gone", "/late", "/pool/a.deb", "/pool/a.deb"]
        assert code(http4(server.url, Wanted("more", 1), *known)) == Code.MISSING
        assert server.paths.count("/more") == 1
    assert code(http4("http://127.0.0.1:1/")) == Code.NOT_REACHED


def test_without_a_known_file_nothing_is_believed() -> None:
    assert code(probe("http://127.0.0.1:1/", "", [], LOCAL, SHORT).http4) == Code.MISSING


def _then(head: bytes, rest: bytes) -> Answer:
    return lambda asked: head if asked.method == "HEAD" else rest


GOOD = answer(kind=DEB, Content_Length=str(FILE.size))


@pytest.mark.parametrize(
    ("say", "expected"),
    [
        (lambda _: answer(status=404), Code.MISSING),
        (lambda _: answer(b"<html>"), Code.PAGE),
        (lambda _: answer(b"x", kind=DEB), Code.OTHER_SIZE),
        (lambda _: answer(status=500), Code.SERVER_ERROR),
        (lambda _: answer(status=302, Location="https://elsewhere/"), Code.REDIRECTED),
        (lambda _: answer(Server="Commonfarm-redirector"), Code.REDIRECTOR),
        (lambda _: iter([b"junk\r\n"]), Code.BAD_ANSWER),
        (_then(GOOD, answer(status=404)), Code.MISSING),
        (_then(GOOD, answer(b"<html>")), Code.PAGE),
        (_then(GOOD, answer(status=503)), Code.SERVER_ERROR),
        (_then(GOOD, answer(b"x", kind=DEB, status=206)), Code.OTHER_SIZE),
        (
            _then(GOOD, answer(b"x", kind=DEB, status=206, Content_Range="bytes 5-5/200000")),
            Code.BAD_ANSWER,
        ),
        (
            _then(GOOD, answer(b"x", kind=DEB, status=206, Content_Range="bytes 0-199999/200000")),
            Code.BAD_ANSWER,
        ),
    ],
)
def test_what_is_no_mirror_is_down_by_name(say: Answer, expected: Code) -> None:
    with saying(say) as server:
        assert code(http4(server.url)) == expected


def test_where_head_is_refused_the_part_decides() -> None:
    good = serving()

    def say(asked: Asked) -> bytes | Iterable[bytes]:
        return answer(status=405) if asked.method == "HEAD" else good(asked)

    with saying(say) as server:
        assert http4(server.url).ok


def test_a_server_without_parts_is_up_and_that_is_told() -> None:
    def say(asked: Asked) -> bytes | Iterable[bytes]:
        if asked.method == "HEAD":
            return answer(kind=DEB, Content_Length=str(2**40))
        return without_end(bytes(2**16), answer(kind=DEB, Content_Length=str(2**40)))

    with saying(say) as server:
        outcome = http4(server.url, Wanted("a.iso", 2**40))
    assert outcome.ok and not outcome.ranges


def test_a_slow_drip_is_down_in_time() -> None:
    for limits in (replace(SHORT, total_seconds=0.3), replace(SHORT, request_seconds=0.3)):
        with saying(lambda _: dripping(server.over, b"HTTP/1.1 200 OK\r\nX-A: ")) as server:
            assert code(http4(server.url, limits=limits)) == Code.TOO_SLOW


def https4(server_url: str, name: str = "127.0.0.1") -> Outcome:
    url = server_url.replace("127.0.0.1", name)
    outcome = probe("", url, [FILE], LOCAL, SHORT).https4
    assert outcome is not None
    return outcome


def test_certificates_are_verified(authority: Authority, named: Callable[..., None]) -> None:
    named("127.0.0.1")
    good = authority.server(NAME)
    with saying(serving(), tls=good) as server:
        assert https4(server.url, NAME).ok
        assert code(https4(server.url, "other.example.org")) == Code.CERTIFICATE_FOREIGN
        assert code(https4(server.url)) == Code.CERTIFICATE_FOREIGN
    assert all(asked.headers["host"] == f"{NAME}:{server.port}" for asked in server.asked)
    dead = authority.server(NAME, lasts=-timedelta(days=1))
    with saying(serving(), tls=dead) as server:
        assert code(https4(server.url, NAME)) == Code.CERTIFICATE_EXPIRED
    assert server.asked == []


def test_a_certificate_of_nobody_is_not_trusted(tmp_path: Path, named: Callable[..., None]) -> None:
    named("127.0.0.1")
    unknown: ssl.SSLContext = Authority(tmp_path).server(NAME)
    with saying(serving(), tls=unknown) as server:
        assert code(https4(server.url, NAME)) == Code.CERTIFICATE_UNTRUSTED


def test_a_server_that_speaks_no_tls_is_named(tmp_path: Path) -> None:
    with nginx(tmp_path / "home", tmp_path) as url:
        assert code(https4(url.replace("http:", "https:"))) == Code.NOT_REACHED


def test_forbidden_addresses_are_never_connected_to(named: Callable[..., None]) -> None:
    with saying(serving()) as server:
        for addresses in (["127.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::1"]):
            named(*addresses)
            for url in (server.url, f"http://{NAME}:{server.port}/"):
                probed = probe(url, "", [FILE], PUBLIC, SHORT)
                assert code(probed.http4) == Code.ADDRESS_REFUSED
                if url != server.url:
                    assert code(probed.http6) == Code.ADDRESS_REFUSED
    assert server.asked == []


def test_a_name_that_stands_for_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert code(http4(f"http://{NAME}/")) == Code.NO_ADDRESS


def test_all_four_are_asked_side_by_side() -> None:
    dead = f"http://127.0.0.1:{free_port()}/"
    probed = probe(dead, dead.replace("http:", "https:"), [FILE], LOCAL, SHORT)
    assert {name: code(outcome) for name, outcome in probed.outcomes()} == {
        "http4": Code.NOT_REACHED,
        "http6": Code.NO_ADDRESS,
        "https4": Code.NOT_REACHED,
        "https6": Code.NO_ADDRESS,
    }
    assert probe("", "", [FILE], LOCAL, SHORT) == Probed()
