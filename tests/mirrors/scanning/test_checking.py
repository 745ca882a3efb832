"""A file counts as there only by an answer that could be it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.scanning import (
    Checked,
    Code,
    Limits,
    Sample,
    ScanError,
    Wanted,
    audit,
    check,
    list_http,
    probe,
)
from tests.mirrors.scanning.hostile import (
    LOCAL,
    PUBLIC,
    Asked,
    answer,
    dripping,
    saying,
    without_end,
)
from tests.mirrors.scanning.servers import apache, free_port, nginx

SHORT = Limits(connect_seconds=5, silence_seconds=5, request_seconds=5, total_seconds=20)
FILE = Wanted("pool/a.deb", 7)
DEB = "application/octet-stream"


def looked(url: str, *wanted: Wanted, limits: Limits = SHORT, policy: Policy = LOCAL) -> Checked:
    return check([url], wanted or [FILE], policy, limits)


def codes(checked: Checked) -> dict[str, str]:
    assert checked.problem is None
    both = checked.missing | checked.unknown
    return {path: reason.code for path, reason in both.items()}


def test_a_real_mirror_is_seen_as_it_is(tmp_path: Path) -> None:
    names = ["pool/a~1+b_1%3a2.deb", "pool/with space#and?marks.deb", "pool/ä.deb", "empty.txt"]
    wanted = [Wanted(name, number) for number, name in enumerate(reversed(names))]
    for file in wanted:
        (tmp_path / "tree/pool").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / file.path).write_bytes(b"x" * file.size)
    (tmp_path / "tree/InRelease").write_bytes(b"today's")
    wanted += [Wanted("pool/none.deb", 1), Wanted(names[0], 99), Wanted("InRelease", 3, True)]
    with nginx(tmp_path / "home", tmp_path / "tree") as url:
        seen = looked(url, *wanted)
    assert seen.held == sorted([*names, "InRelease"])
    assert codes(seen) == {"pool/none.deb": Code.MISSING, names[0]: Code.OTHER_SIZE}
    assert seen.hashes == {"InRelease": hashlib.sha256(b"today's").hexdigest()}
    assert seen.addresses == ("127.0.0.1",)


def test_what_servers_say_of_packed_files_and_pages_by_their_names_is_no_fault(
    tmp_path: Path,
) -> None:
    sizes = {"a.tar.gz": 5, "b.tgz": 6, "c.html.gz": 7, "d.html.en": 8, "e.XHTML": 9, "f.xz": 10}
    (tmp_path / "tree").mkdir()
    for name, size in sizes.items():
        (tmp_path / "tree" / name).write_bytes(b"x" * size)
    options = "AddEncoding x-gzip .gz .tgz\nAddEncoding xz .xz\nAddLanguage en .en"
    with apache(tmp_path / "home", tmp_path / "tree", options) as url:
        wanted = [Wanted(name, size) for name, size in sizes.items()]
        assert looked(url, *wanted).held == sorted(sizes)
        assert looked(url, Wanted("a.tar.gz", 0, True)).hashes.keys() == {"a.tar.gz"}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (answer(b"x" * 7), Code.PAGE),
        (answer(b"x" * 7, kind="TEXT/HTML; charset=utf-8"), Code.PAGE),
        (answer(b"x" * 8, kind=DEB), Code.OTHER_SIZE),
        (answer(b"x" * 7, kind=DEB, Content_Length=""), Code.OTHER_SIZE),
        (answer(b"x" * 7, kind=DEB, status=203), Code.MISSING),
        (answer(b"x" * 7, kind=DEB, Content_Encoding="gzip"), Code.PACKED),
        (answer(status=404), Code.MISSING),
        (answer(status=301, Location="https://elsewhere.example.org/"), Code.REDIRECTED),
        (answer(status=302), Code.REDIRECTED),
        (answer(kind=DEB, status=416, Content_Range="bytes */7"), Code.MISSING),
    ],
)
def test_what_is_not_the_file_is_missing_with_its_reason(said: bytes, code: Code) -> None:
    with saying(lambda _: said) as server:
        assert codes(looked(server.url)) == {FILE.path: code}
        assert looked(server.url, Wanted("a.html", 7)).problem is None


@pytest.mark.parametrize("status", [403, 405, 501])
def test_where_head_is_refused_the_first_byte_is_asked_for(status: int) -> None:
    def parts(asked: Asked) -> bytes:
        if asked.method == "HEAD":
            return answer(status=status)
        assert asked.headers["range"] == "bytes=0-0"
        return answer(b"x", kind=DEB, status=206, Content_Range="bytes 0-0/7")

    def whole(asked: Asked) -> bytes | Iterable[bytes]:
        return answer(status=status) if asked.method == "HEAD" else answer(b"x" * 7, kind=DEB)

    def empty(asked: Asked) -> bytes:
        if asked.method == "HEAD":
            return answer(status=status)
        return answer(kind=DEB, status=416, Content_Range="bytes */0")

    for say in (parts, whole):
        with saying(say) as server:
            assert looked(server.url).held == [FILE.path]
            assert codes(looked(server.url, Wanted("b", 9))) == {"b": Code.OTHER_SIZE}
    with saying(empty) as server:
        assert looked(server.url, Wanted("e", 0)).held == ["e"]
        assert codes(looked(server.url)) == {FILE.path: Code.MISSING}


def test_a_file_of_any_size_that_is_sent_whole_is_not_read() -> None:
    def huge(asked: Asked) -> bytes | Iterable[bytes]:
        if asked.method == "HEAD":
            return answer(status=405)
        head = answer(kind=DEB, Content_Length=str(2**50))
        return without_end(bytes(2**16), head)

    with saying(huge) as server:
        assert looked(server.url, Wanted("huge", 2**50)).held == ["huge"]


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_a_server_in_trouble_is_a_problem_of_the_whole(status: int) -> None:
    with saying(lambda _: answer(status=status)) as server:
        problem = looked(server.url).problem
    assert problem is not None and problem.code == Code.SERVER_ERROR


def test_a_redirector_is_no_mirror() -> None:
    said = answer(b"x" * 7, kind=DEB, Server="Commonfarm-redirector")
    with saying(lambda _: said) as server:
        problem = looked(server.url).problem
    assert problem is not None and problem.code == Code.REDIRECTOR


def test_connections_that_fail_one_after_the_other_end_the_look() -> None:
    many = [Wanted(f"{number}", 7) for number in range(100)]
    with saying(lambda _: iter([b"\x00junk\r\n\r\n"])) as server:
        seen = looked(server.url, *many)
    assert seen.problem is not None and seen.problem.code == Code.BAD_ANSWER
    assert len(server.asked) < 30


def test_of_a_single_broken_answer_it_is_unknown_whether_the_file_is_there() -> None:
    def say(asked: Asked) -> bytes | Iterable[bytes]:
        return [b"junk\r\n\r\n"] if asked.path == "/3" else answer(b"x" * 7, kind=DEB)

    many = [Wanted(f"{number}", 7) for number in range(20)]
    with saying(say) as server:
        seen = looked(server.url, *many, limits=replace(SHORT, at_once=2))
    assert {path: why.code for path, why in seen.unknown.items()} == {"3": Code.BAD_ANSWER}
    assert (seen.problem, seen.missing, len(seen.held)) == (None, {}, 19)


def test_what_changes_in_place_is_read_whole_and_bounded() -> None:
    told = {
        "/InRelease": answer(b"new", kind="text/plain"),
        "/page": answer(b"<html>"),
        "/short": answer(b"x", kind=DEB, Content_Length="5000"),
        "/part": answer(b"x", kind=DEB, status=206, Content_Range="bytes 0-0/7"),
        "/packed": answer(b"x", kind=DEB, Content_Encoding="br"),
    }

    def say(asked: Asked) -> bytes | Iterable[bytes]:
        assert asked.method == "GET" and "range" not in asked.headers
        if asked.path == "/long":
            head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"
            return without_end(bytes(2**16), head)
        return [told[asked.path]]

    wanted = [Wanted(path[1:], 99, True) for path in [*told, "/long"]]
    limits = replace(SHORT, changing_bytes=2**20, failures_in_a_row=99, at_once=99)
    with saying(say) as server:
        seen = looked(server.url, *wanted, limits=limits)
    assert seen.held == ["InRelease"]
    assert seen.hashes == {"InRelease": hashlib.sha256(b"new").hexdigest()}
    assert codes(seen) == {
        "page": Code.PAGE,
        "short": Code.BAD_ANSWER,
        "part": Code.MISSING,
        "packed": Code.PACKED,
        "long": Code.TOO_LARGE,
    }


def test_the_look_as_a_whole_has_an_end() -> None:
    with saying(lambda _: dripping(server.over, b"HTTP/1.1 200 OK\r\nX-A: ")) as server:
        problem = looked(server.url, limits=replace(SHORT, total_seconds=0.4)).problem
    assert problem is not None and problem.code == Code.TOO_SLOW


def test_no_more_is_asked_at_once_than_is_allowed() -> None:
    many = [Wanted(f"{number}", 7) for number in range(50)]
    limits = replace(SHORT, at_once=3, total_seconds=0.4)
    with saying(lambda _: dripping(server.over, b"HTTP/1.1 200 OK\r\nX-A: ")) as server:
        looked(server.url, *many, limits=limits)
        assert len(server.asked) <= 3


def test_the_next_address_is_asked_where_one_cannot_be_reached() -> None:
    with saying(lambda _: answer(b"x" * 7, kind=DEB)) as server:
        bases = [f"http://127.0.0.1:{free_port()}/", server.url]
        seen = check(bases, [FILE], LOCAL, SHORT)
        assert (seen.held, seen.problem) == ([FILE.path], None)
        both = check([server.url, server.url], [FILE], LOCAL, SHORT)
    assert both.held == [FILE.path]
    assert len(server.asked) == 2


def test_a_forbidden_address_is_never_connected_to() -> None:
    with saying(lambda _: answer(b"x" * 7, kind=DEB)) as server:
        own = Policy(loopback_allowed=True, own_ports=frozenset({server.port}))
        for policy in (PUBLIC, own):
            for host in ("127.0.0.1", "localhost"):
                problem = looked(f"http://{host}:{server.port}/", policy=policy).problem
                assert problem is not None and problem.code == Code.ADDRESS_REFUSED
    assert server.asked == []


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0127.0.0.1", "127.0.0.1."])
def test_an_address_in_an_odd_form_is_refused(host: str) -> None:
    with saying(lambda _: answer(b"x" * 7, kind=DEB)) as server:
        problem = looked(f"http://{host}:{server.port}/", policy=PUBLIC).problem
    assert problem is not None and problem.code == Code.ADDRESS_REFUSED
    assert server.asked == []


def test_nothing_wanted_asks_nothing() -> None:
    assert check(["http://127.0.0.1:1/"], [], LOCAL, SHORT) == Checked()


def test_a_proxy_and_credentials_of_the_environment_are_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login anna password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    with saying(lambda _: answer(b"x" * 7, kind=DEB)) as server:
        assert looked(server.url).held == [FILE.path]
    assert "authorization" not in server.asked[0].headers


TELLING = [
    answer(b"x" * 7, kind=DEB),
    answer(b'<title>Index of</title><a href="a/">a</a>'),
    answer(b'[{"name": "a", "size": 7}]', kind="application/json"),
    answer(b"x" * 7, kind=DEB, status=206, Content_Range="bytes 0-6/7"),
    answer(status=302, Location="/x/"),
]
HARM = st.sampled_from(
    [
        *(b"\r\n", b"\0", b"\xff", b":", b"Content-Length: 99999999999999999999\r\n"),
        *(b"Transfer-Encoding: chunked\r\n", b"Location: http://[::1/\r\n", b"Set-Cookie: \1\r\n"),
        *(b"Content-Range: bytes */\r\n", b"Connection: upgrade\r\nUpgrade: websocket\r\n"),
        *(b"HTTP/1.1 100 Continue\r\n\r\n", b"Content-Type: text/html; charset=\xff\r\n"),
    ]
) | st.binary(max_size=8)


def test_whatever_bytes_a_server_sends_end_as_an_answer_or_a_named_error() -> None:
    said = [b""]
    limits = replace(SHORT, silence_seconds=0.05, request_seconds=0.2, at_once=2)

    @settings(deadline=None, max_examples=30)
    @given(st.sampled_from(TELLING), st.integers(0, 200), HARM)
    def ask(good: bytes, place: int, harm: bytes) -> None:
        said[0] = good[:place] + harm + good[place:]
        seen = check([server.url], [FILE, Wanted("b", 7, True)], LOCAL, limits)
        there = {*seen.held, *seen.missing, *seen.unknown}
        assert there == {FILE.path, "b"} or seen.problem is not None
        with suppress(ScanError):
            list(list_http(server.url, LOCAL, limits))
        probe(server.url, "", [FILE], LOCAL, limits)
        assert not audit(server.url, [Sample("a", 7, 0, 0, 7, "0" * 64)], LOCAL, limits).matched

    with saying(lambda _: [*said]) as server:
        ask()
