"""A scan believes only what could be the file."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.scanner import Limits, Wanted, scan, why_missing
from tests.mirrors.web import Web, serving

LOCAL = Policy(loopback_allowed=True, own_ports=frozenset())
FILES = [Wanted(f"pool/{number}.deb", number + 1) for number in range(30)]
QUICK = Limits(request_seconds=1)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    with serving(tmp_path / "web") as started:
        for file in FILES:
            started.put(file.path, b"x" * file.size)
        yield started


def test_a_whole_mirror_is_seen_whole(web: Web) -> None:
    seen = scan(web.url, FILES, LOCAL)
    assert (seen.problem, seen.missing, seen.addresses) == ("", (), ("127.0.0.1",))
    assert sorted(web.asked) == sorted(f"/{file.path}" for file in FILES)


def test_missing_files_and_wrong_sizes_are_named(web: Web) -> None:
    (web.folder / "pool/3.deb").unlink()
    web.put("pool/5.deb", b"cut")
    seen = scan(web.url, FILES, LOCAL)
    assert (seen.problem, seen.missing) == ("", ("pool/3.deb", "pool/5.deb"))


def test_names_that_need_escapes_are_found(web: Web) -> None:
    names = ["pool/a~1+b_1%3a2.deb", "pool/with space#and?marks.deb", "pool/ä.deb"]
    for name in names:
        web.put(name, b"x")
    assert scan(web.url, [Wanted(name, 1) for name in names], LOCAL).missing == ()


@pytest.mark.parametrize(
    ("behaviour", "problem"),
    [
        ("page", "it has none of the files: it says 3 where"),
        ("no size", "it has none of the files: it says no size where"),
        ("redirect", "it has none of the files: it redirects to http://127.0.0.1:1/x"),
        ("broken", "it answers 500"),
        ("redirector", "a redirector answers there, not a mirror"),
        ("rubbish", ""),
    ],
)
def test_a_server_that_is_no_mirror_is_a_problem(web: Web, behaviour: str, problem: str) -> None:
    web.behaviour = behaviour
    seen = scan(web.url, FILES, LOCAL)
    assert seen.problem.startswith(problem)
    assert seen.problem


def test_an_error_page_of_the_very_size_is_not_the_file() -> None:
    page = {"Content-Length": "3", "Content-Type": "text/html; charset=utf-8"}
    assert why_missing(Wanted("a.deb", 3), 200, page)
    assert not why_missing(Wanted("a.html", 3), 200, page)
    assert why_missing(Wanted("a.deb", 3), 203, {"Content-Length": "3"})


def test_an_address_where_nothing_listens_is_a_problem_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        seen = scan(f"http://127.0.0.1:{taken.getsockname()[1]}/", FILES, LOCAL)
    assert "cannot connect" in seen.problem


def test_a_server_that_never_answers_does_not_hold_us_up(web: Web) -> None:
    web.behaviour = "hold"
    began = time.monotonic()
    seen = scan(web.url, FILES, LOCAL, Limits(request_seconds=0.5))
    assert seen.problem
    assert time.monotonic() - began < 5


def test_a_scan_as_a_whole_has_an_end(web: Web) -> None:
    web.behaviour = "hold"
    seen = scan(web.url, FILES, LOCAL, Limits(scan_seconds=0.5))
    assert seen.problem.startswith("it could not be scanned in")


def test_no_more_is_asked_at_once_than_is_allowed(web: Web) -> None:
    web.behaviour = "hold"
    scan(web.url, FILES, LOCAL, Limits(at_once=3, scan_seconds=0.5))
    assert len(web.asked) <= 3


def test_an_empty_tree_still_tells_whether_anybody_is_there(web: Web) -> None:
    seen = scan(web.url, [], LOCAL)
    assert (seen.problem, seen.missing, seen.addresses) == ("", (), ("127.0.0.1",))


def test_a_forbidden_address_is_never_connected_to(web: Web) -> None:
    public = Policy(loopback_allowed=False, own_ports=frozenset())
    port = web.url.split(":")[2]
    for url in (web.url, f"http://localhost:{port}"):
        seen = scan(url, FILES, public, QUICK)
        assert "is not a public address" in seen.problem
    assert web.asked == []


def test_our_own_ports_are_no_mirror(web: Web) -> None:
    port = int(web.url.split(":")[2].strip("/"))
    own = Policy(loopback_allowed=True, own_ports=frozenset({port}))
    assert "this installation's own" in scan(f"http://localhost:{port}/", FILES, own).problem
    assert web.asked == []


def test_a_proxy_in_the_environment_is_not_used(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1/")
    assert scan(web.url, FILES, LOCAL).problem == ""
