"""The same bytes in give the same bytes out: however they are cut, and by whichever way."""

from __future__ import annotations

from itertools import pairwise
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonfarm.redirector import answers
from commonfarm.redirector import request as requests
from commonfarm.redirector.connection import Connection
from commonfarm.redirector.request import PLAIN, Heads, split_target
from commonfarm.redirector.state import Redirector
from tests.redirector.wire import NOW, redirector, talk
from tests.redirector.world import file_of, mirror, tree_of

PATHS = [
    *("demo/pool/a.deb", "demo/pool/b~1+x,y!$&'()*.deb", "demo/sub/c.deb", "demo/new.deb"),
    *("demo/dists/stable/InRelease", "demo/latest.deb", "demo/none", "demo//pool/a.deb"),
    *("demo/./pool/a.deb", "demo/../key.pub", "demo/pool/a.deb.sha256", "demo/pool/a.deb.meta4"),
    *("demo/pool%2Fa.deb", "demo/pool/a%2Edeb", "-/health", "demo/pool/a.deb?mirrorlist"),
    *("demo/pool/a.deb?country=FR", "demo/pool/a.deb?", "none", "demo/pool/a;b.deb", "demo/"),
]
LINES = [
    *("Host: dl.example.org", "User-Agent: apt", "User-Agent: curl", "Connection: close"),
    *("Connection: keep-alive", "Range: bytes=5-9", "Accept: */*", "X-Forwarded-For: 8.8.8.8"),
    *("Accept: application/metalink4+xml", "If-None-Match: *", "Host: other:80", "Host: <>"),
    *("X-Forwarded-For: 193.99.144.80", "X-Forwarded-Proto: https", "Content-Length: 0"),
    *("Content-Length: 3", "Transfer-Encoding: chunked", "Broken", " folded", "Upgrade: h2c"),
]
REQUESTS = st.builds(
    lambda method, path, version, lines, end: (
        f"{method} /{path} {version}\r\n" + "".join(f"{line}\r\n" for line in lines) + end
    ).encode(),
    st.sampled_from(["GET"] * 6 + ["HEAD", "POST", "get", "CONNECT"]),
    st.sampled_from(PATHS),
    st.sampled_from(["HTTP/1.1"] * 6 + ["HTTP/1.0", "HTTP/2.0", ""]),
    st.lists(st.sampled_from(LINES[:8] * 3 + LINES), max_size=4),
    st.sampled_from(["\r\n"] * 8 + ["\r\n\r\n", "\n", "", "\r\n\r", "X"]),
)


@pytest.fixture(scope="module", params=[True, False], ids=["behind a proxy", "direct"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Redirector:
    from ipaddress import ip_network

    proxies = [ip_network("127.0.0.0/8")] if request.param else []
    return redirector(
        tmp_path_factory.mktemp("edge"),
        [
            mirror("one", https="https://one.example.org/d/"),
            mirror("two", country="US", budget_bytes=10**15),
            mirror("part", country="FR", subtree="sub"),
            *(mirror(f"m{number}", country="JP") for number in range(5)),
        ],
        {
            "demo/pool/a.deb": file_of(b"a", *range(8)),
            "demo/pool/b~1+x,y!$&'()*.deb": file_of(b"b", 0, 1),
            "demo/sub/c.deb": file_of(b"c", 1, 2),
            "demo/new.deb": file_of(b"d", 0, mirrors_from=int(NOW) + 60),
            "demo/dists/stable/InRelease": file_of(b"e", 0, changes=True),
        },
        {"trusted_proxies": proxies},
        trees=[tree_of(aliases={"latest.deb": "pool/a.deb"})],
    )


@settings(
    deadline=None,
    max_examples=300,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    requests=st.lists(REQUESTS, min_size=1, max_size=6),
    cuts=st.lists(st.integers(0, 600), max_size=6),
)
def test_however_it_is_cut_and_read(
    shared: Redirector, requests: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(requests)
    marks = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    pieces = [data[start:end] for start, end in pairwise(marks)]
    shared.heads = Heads()
    whole = talk(shared, data)
    again = talk(shared, data)  # now that all heads are known
    cut = talk(shared, *pieces)
    shared.heads = Heads()
    with patch.object(Connection, "_redirect_of", lambda *_: None):
        slow = talk(shared, data)
    assert whole == again == cut == slow


def test_the_short_way_is_taken(shared: Redirector) -> None:
    request = b"GET /demo/pool/a.deb HTTP/1.1\r\nHost: dl.example.org\r\n\r\n"
    first = talk(shared, request)
    with patch.object(answers, "answer", side_effect=AssertionError("the long way")):
        assert talk(shared, request) == first
        assert talk(shared, request * 3)[0] == first[0] * 3
        assert talk(shared, request[:40], request[40:]) == first


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=40))
def test_a_plain_target_is_what_it_stands_for(path: bytes) -> None:
    line = PLAIN.match(b"GET /" + path + b" HTTP/1.1\r\n")
    if line is None:
        return
    assert line[1] == path
    assert split_target(b"/" + path) in ((path, ""), None)


def test_kept_heads_are_bounded_and_the_used_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    heads = Heads(most=10)
    often = b"GET /a HTTP/1.1\r\nHost: often\r\n\r\n"
    kept = heads.read(often).head
    for number in range(100):
        heads.read(b"GET /a HTTP/1.1\r\nHost: h%d\r\n\r\n" % number)
        if number % 5 == 0:
            assert heads.read(often).head is kept
    assert len(heads._young) + len(heads._old) <= 20
    monkeypatch.setattr(requests, "MOST_KEPT_TOGETHER", 100)
    for number in range(100):
        heads.read(b"GET /a HTTP/1.1\r\nHost: %d\r\n\r\n" % number)
        assert sum(map(len, heads._young)) < 200
    long = b"GET /a HTTP/1.1\r\nX: " + b"a" * 4000 + b"\r\n\r\n"
    assert heads.read(long).head is not heads.read(long).head


def test_of_a_head_only_lines_that_mean_something_are_kept() -> None:
    odd = b"".join(b"x%d:\r\n" % number for number in range(100))
    head = Heads().read(b"GET /a HTTP/1.1\r\nHost: h\r\n" + odd + b"\r\n").head
    assert head.headers == {b"host": b"h"}
