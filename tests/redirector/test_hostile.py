"""What nobody should send, and nothing may come of it: paths, heads, names, a map's own words."""

from __future__ import annotations

import asyncio
import math
import os
import re
import time
from pathlib import Path
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonfarm.redirector.connection import Connection
from commonfarm.redirector.mirror_map import Mirror
from commonfarm.redirector.request import MOST_HEAD_BYTES, BadRequestError, Heads, parse
from commonfarm.redirector.server import keep_time
from commonfarm.redirector.state import Redirector
from tests.redirector.wire import Wire, get, redirector, talk
from tests.redirector.world import Edge, file_of, mirror, tree_of

LONG = "a" * 200 + "/"
NAMES = {
    "plain": b"demo/a.deb",
    "eight bit": b"demo/\xe4\xf6\xfc.deb",
    "utf-8": "demo/ä ö.deb".encode(),
    "controls": b'demo/a;b?c#d"<e>.deb',
    "percent": b"demo/100%.deb",
    "long": ("demo/" + LONG * 19 + "x.deb").encode(),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Redirector:
    files = {os.fsdecode(name): file_of(b"x", 0) for name in NAMES.values()}
    return redirector(
        tmp_path_factory.mktemp("edge"),
        [mirror("one")],
        files,
        trees=[tree_of(aliases={"old": "new", "ä": "ö"})],
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_name_that_a_file_can_have_is_found_and_told_as_an_address(
    shared: Redirector, name: str
) -> None:
    raw = NAMES[name]
    asked = "/" + "".join(f"%{byte:02X}" for byte in raw).replace("%2F", "/")
    for target in (asked, asked.lower(), asked + "?x=y"):
        status, headers, _ = get(shared, target)
        assert status == 302
        location = headers["Location"]
        assert location.startswith("http://one.example.org/demo/")
        assert re.fullmatch(r"[!-~]+", location)
        assert not set(location) & set('<>"#?; \\^`{|}')
        # The same address asked of us again is the same file.
        again = "/demo/" + location.removeprefix("http://one.example.org/demo/")
        assert get(shared, again)[1]["Location"] == location
    assert get(shared, asked + ".meta4")[0] == 200
    assert get(shared, asked + ".sha256")[2].endswith(b"  " + raw.rpartition(b"/")[2] + b"\n")
    for kind in ("text/html", "text/plain", "application/json"):
        assert get(shared, asked + "?mirrorlist", f"Accept: {kind}\r\n")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        *("/..", "/../x", "/demo/..", "/demo/%2e%2e/x", "/demo/%2E./x", "/demo/.%2e%2fx", "/./x"),
        *("//demo/x", "/demo//x", "/%2fdemo", "/demo/x%00", "/%00", "/demo/%0d%0aX:%20y", "/%"),
        *("/demo/%7f", "/%zz", "/demo/%1", "*", "http://", "http://h", "https://h?x", "/%0a"),
    ],
)
def test_a_path_that_is_none_is_refused(shared: Redirector, path: str) -> None:
    for method in ("GET", "HEAD"):
        status, headers, body = get(shared, path, method=method)
        assert status == 400
        assert "X" not in headers
        assert body.startswith(b"400 Bad Request: ") == (method == "GET")


def test_no_header_is_split_by_what_is_asked(shared: Redirector) -> None:
    for target in (
        "/demo/x%0d%0aSet-Cookie:%20a=b",
        "/demo/?mirrorlist=%0d%0aSet-Cookie:%20a=b&country=%0d%0aSet-Cookie:%20a=b",
        "/metalink?repo=%0d%0aSet-Cookie:%20a=b&arch=%0aSet-Cookie:%20a=b",
        "/metalink?path=demo/%0d%0aSet-Cookie:%20a=b",
        "/demo/%C3%A4%20%C3%B6.deb?mirrorlist&x=%0d%0aSet-Cookie:%20a=b",
    ):
        answer, _ = talk(shared, f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        head = answer.partition(b"\r\n\r\n")[0]
        assert b"\nSet-Cookie" not in head


def test_heads_have_their_bounds(shared: Redirector) -> None:
    many = b"".join(b"X-%d: y\r\n" % number for number in range(3000))
    for head in (many, b"X: " + b"y" * MOST_HEAD_BYTES, b"Cookie: a\r\n" * 2000):
        answer, closed = talk(shared, b"GET /demo/x HTTP/1.1\r\n" + head + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert closed
    target = b"/demo/" + b"a" * (MOST_HEAD_BYTES - 40)
    answer, closed = talk(shared, b"GET " + target + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert not closed


@pytest.mark.parametrize(
    "data",
    [
        b"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        b"GET /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: h\r\n folded: x\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost : h\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: h\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n",
        b"GET /a\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
        b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        b"\n",
        b"\x00",
    ],
)
def test_what_is_no_plain_request_ends_the_connection(shared: Redirector, data: bytes) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"
    answer, closed = talk(shared, data + smuggled)
    assert re.match(rb"HTTP/1.1 4\d\d ", answer)
    assert (answer.count(b"HTTP/1.1 "), closed) == (1, True)


def test_a_client_of_http_1_0_is_not_left_waiting_for_an_end(shared: Redirector) -> None:
    answer, closed = talk(shared, b"GET /demo/a.deb HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"\r\nConnection: close\r\n" in answer
    assert closed


def connected(shared: Redirector) -> tuple[Connection, Wire]:
    connection, wire = Connection(shared), Wire()
    connection.connection_made(cast("asyncio.BaseTransport", wire))
    return connection, wire


@pytest.mark.parametrize(
    ("target", "at_once"), [("/demo/a.deb", 64), ("/demo/a.deb?mirrorlist", 1)]
)
def test_who_asks_much_at_once_lets_others_have_their_turn(
    shared: Redirector, target: str, at_once: int
) -> None:
    request = f"GET {target} HTTP/1.1\r\nHost: h\r\n\r\n".encode()
    talk(shared, request)

    async def scene() -> None:
        greedy, wire = connected(shared)
        greedy.data_received(request * 200)
        assert wire.sent.count(b"HTTP/1.1 ") == at_once
        modest, other = connected(shared)
        modest.data_received(request)
        assert other.sent.count(b"HTTP/1.1 ") == 1
        while wire.sent.count(b"HTTP/1.1 ") < 200:
            await asyncio.sleep(0)

    asyncio.run(asyncio.wait_for(scene(), 10))


@pytest.mark.parametrize("more", ["", "Connection: close\r\n"])
def test_who_takes_no_answer_is_cut_off_at_last(shared: Redirector, more: str) -> None:
    """Closing waits for that, maybe for ever."""
    connection, wire = connected(shared)
    connection.data_received(f"GET /none HTTP/1.1\r\nHost: h\r\n{more}\r\n".encode())
    connection.give_up()
    assert (wire.closed, wire.aborted) == (True, bool(more))
    connection.give_up()
    assert wire.aborted
    connection.connection_lost(None)


def test_idle_connections_make_room_when_there_are_many(tmp_path: Path) -> None:
    shared = redirector(tmp_path, [], {}, {"most_connections": 4})
    idle, begun, busy = (connected(shared) for _ in range(3))
    for (connection, _), left in zip((idle, begun, busy), (50, 10, math.inf), strict=True):
        connection.deadline = time.monotonic() + left
    keep_time(shared)
    assert not idle[1].closed
    connected(shared)
    keep_time(shared)
    assert [wire.closed for _, wire in (idle, begun, busy)] == [True, False, False]


@pytest.mark.parametrize("public", ["", "https://download.example.org"])
def test_what_caches_may_keep_names_no_host_that_somebody_made_up(
    tmp_path: Path, public: str
) -> None:
    shared = redirector(tmp_path, [], {"demo/a": file_of(b"a")}, {"public": public})
    (tmp_path / "published/demo").mkdir(parents=True)
    (tmp_path / "published/demo/a").write_bytes(b"a")
    status, headers, _ = get(shared, "/demo/a", method="HEAD")
    assert (status, headers["Cache-Control"]) == (200, "public, max-age=86400")
    assert headers.get("Link", "").startswith(public and f"<{public}/demo/a.meta4>; rel=described")
    assert bool(public) == ("Link" in headers)
    # Of what the map does not know nobody can tell how long it stays as it is.
    (tmp_path / "published/demo/b").write_bytes(b"b")
    assert get(shared, "/demo/b", method="HEAD")[1]["Cache-Control"] == "no-cache"


@settings(deadline=None, max_examples=150)
@given(st.binary(max_size=60) | st.sampled_from([b"GET /", b"\r\n"]))
def test_whatever_comes_is_a_request_or_is_refused(data: bytes) -> None:
    for raw in (data, b"GET /" + data + b" HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n" + data):
        try:
            request = parse(raw)
        except BadRequestError:
            continue
        assert raw.endswith(b"\n")
        assert Heads().read(raw) == request


@settings(
    deadline=None,
    max_examples=80,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.text(st.characters(max_codepoint=255), max_size=40), st.sampled_from(["", "demo/"]))
def test_whatever_is_asked_has_an_answer(shared: Redirector, text: str, start: str) -> None:
    quoted = "".join(f"%{ord(letter):02x}" for letter in text)
    for target in (f"/{start}{quoted}", f"/demo/?mirrorlist&{quoted}", f"/metalink?repo={quoted}"):
        status, headers, _ = get(shared, target, "Accept: text/html\r\n")
        assert status in (200, 400, 404)
        assert re.fullmatch(r"[ -~]*", headers.get("Location", ""))


def test_a_map_that_speaks_of_odd_mirrors_splits_no_header(tmp_path: Path) -> None:
    """A map that tells such a thing is refused when it is read; here it got past that."""
    odd = mirror("one\r\nX: y", sponsor="\r\nX: y", problem="\r\n\r\nX: y")
    good = mirror("two")
    shared = redirector(tmp_path, [good, good], {"demo/a": file_of(b"a", 0)})
    listed = (odd, Mirror("x", "demo", http="http://x/\r\nX: y/", country="DE"))
    shared.redirects.map.mirrors = listed
    for accept in ("text/plain", "text/html", "application/json"):
        answer, _ = talk(
            shared,
            f"GET /demo/a?mirrorlist HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\n\r\n".encode(),
        )
        assert b"\nX: y" not in answer


def test_an_adopted_tree_gives_out_files_below_its_folder_alone(edge: Edge) -> None:
    folder = edge.home / "adopted"
    (folder / "sub").mkdir(parents=True)
    (edge.home / "secret").write_bytes(b"secret")
    (folder / "known.iso").write_bytes(b"known")
    (folder / "sub" / "unknown.iso").write_bytes(b"unknown")
    (folder / ".hidden").write_bytes(b"hidden")
    (folder / "sub" / "inside").symlink_to("../known.iso")
    (folder / "sub" / "out").symlink_to(edge.home / "secret")
    (folder / "up").symlink_to("..")
    os.mkfifo(folder / "fifo")
    edge.write_map(
        [mirror("one", "old")],
        {"old/known.iso": file_of(b"known"), "old/other.iso": file_of(b"gone", 0)},
        trees=[tree_of("old", folder=str(folder), aliases={"latest.iso": "known.iso"})],
    )
    edge.start()
    for path, data in {
        "known.iso": b"known",
        "latest.iso": b"known",
        "sub/unknown.iso": b"unknown",
        "sub/inside": b"known",
    }.items():
        status, headers, body = edge.get(f"/old/{path}")
        assert (status, body) == (200, data), path
    assert edge.get("/old/known.iso")[1]["Digest"].startswith("SHA-256=")
    assert "Digest" not in edge.get("/old/sub/unknown.iso")[1]
    for path in (".hidden", "sub/out", "up/secret", "up/key.pub", "fifo", "sub", "", "none"):
        status, _, body = edge.get(f"/old/{path}")
        assert (status, b"secret" in body) == (404, False), path
    assert edge.get("/old/other.iso")[0] == 302
    (folder / "known.iso").write_bytes(b"grown meanwhile")
    status, headers, body = edge.get("/old/known.iso")
    assert (status, body, "Digest" in headers) == (200, b"grown meanwhile", False)


def test_our_own_file_has_the_same_validator_as_its_redirect(edge: Edge) -> None:
    edge.put("demo/a.deb", b"bytes")
    edge.write_map([mirror("one")], {"demo/a.deb": file_of(b"bytes", 0)})
    edge.start()
    etag = edge.get("/demo/a.deb")[1]["ETag"]
    edge.write_map([], {"demo/a.deb": file_of(b"bytes")}, 2)
    edge.wait_for_log("mirror map 2 is in force")
    status, headers, body = edge.get("/demo/a.deb")
    assert (status, headers["ETag"], body) == (200, etag, b"bytes")
    assert edge.get("/demo/a.deb", "-H", f"If-None-Match: {etag}")[0] == 304
    assert edge.get("/demo/a.deb", "--range", "1-2", "-H", f"If-Range: {etag}")[2] == b"yt"
