"""A listing by web indexes goes everywhere below its base, nowhere else, and comes to an end."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from commonfarm.mirrors.addresses import Policy
from commonfarm.mirrors.scanning import Code, Limits, ScanError, list_http
from tests.mirrors.scanning.hostile import (
    LOCAL,
    PUBLIC,
    Answer,
    Asked,
    Hostile,
    answer,
    dripping,
    index,
    saying,
    without_end,
)
from tests.mirrors.scanning.servers import free_port, nginx

SHORT = Limits(connect_seconds=5, silence_seconds=5, request_seconds=5, total_seconds=20)


def listed(url: str, limits: Limits = SHORT) -> list[str]:
    return sorted(file.path for file in list_http(url, LOCAL, limits))


def ended(url: str, limits: Limits = SHORT, policy: Policy = LOCAL) -> ScanError:
    with pytest.raises(ScanError) as caught:
        list(list_http(url, policy, limits))
    return caught.value


@contextmanager
def pages(told: dict[str, bytes]) -> Iterator[Hostile]:
    """Serve just these pages by path; all else is 404."""
    with saying(lambda asked: told.get(asked.path, answer(status=404))) as server:
        yield server


def test_folders_are_read_breadth_first_and_over_few_connections(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for one, two in itertools.product(range(5), range(5)):
        (tree / f"{one}/{two}").mkdir(parents=True)
        (tree / f"{one}/{two}/a.deb").write_bytes(b"x")
    (tree / "z.txt").write_bytes(b"x")
    with nginx(tmp_path / "home", tree) as url:
        paths = [file.path for file in list_http(url, LOCAL, SHORT)]
        assert listed(url + "3/") == [f"{two}/a.deb" for two in range(5)]
    assert sorted(paths) == sorted(str(file.relative_to(tree)) for file in tree.rglob("*.*"))
    assert paths[0] == "z.txt"


def test_requests_say_who_asks_and_carry_nothing_else() -> None:
    cookie = answer(b'<title>Index of</title><a href="a/">a</a>', Set_Cookie="session=1; Path=/")
    with pages({"/": cookie, "/a/": index()}) as server:
        assert listed(server.url) == []
    assert server.paths == ["/", "/a/"]
    for asked in server.asked:
        assert asked.method == "GET"
        assert asked.headers["user-agent"] == "commonfarm-scanner"
        assert asked.headers["accept-encoding"] == "identity"
        assert "cookie" not in asked.headers


def test_links_that_lead_elsewhere_are_not_followed() -> None:
    names = (
        *("../", "/", "/other/", "http://127.0.0.1:1/", "//127.0.0.1:1/", "..%2f", "%2e%2e/"),
        *("?C=N;O=D", "a/?x", "sub/../../", "good/", "good.deb", "../../etc/passwd"),
    )
    with pages({"/base/": index(*names), "/base/good/": index("b.deb")}) as server:
        assert listed(server.url + "base/") == ["good.deb", "good/b.deb"]
    assert sorted(server.paths) == ["/base/", "/base/good/"]


def redirect(where: str) -> bytes:
    return answer(status=302, Location=where)


def test_redirects_are_followed_below_the_base_alone() -> None:
    told = {
        "/base/": index("a/", "b/", "c/", "d/", "e/", "f/", "g/"),
        "/base/a/": redirect("/base/x/"),
        "/base/x/": index("1.deb"),
        "/base/b/": redirect("/elsewhere/"),
        "/base/c/": redirect("http://localhost:1/base/"),
        "/base/d/": redirect("/base/../elsewhere/"),
        "/base/e/": redirect("/base/%2e%2e/elsewhere/"),
        "/base/f/": redirect("/base/f/"),
        "/base/g/": redirect("http://[/"),
    }
    with pages(told) as server:
        assert listed(server.url + "base/") == ["a/1.deb"]
    assert set(server.paths) == told.keys()
    assert server.paths.count("/base/f/") == 5


@pytest.mark.parametrize(
    "where", ["/", "/other/", "http://127.0.0.1:1/", "https://{host}/", "", "//10.0.0.1/"]
)
def test_a_base_that_redirects_is_named(where: str) -> None:
    def say(asked: Asked) -> bytes:
        return redirect(where.replace("{host}", asked.headers["host"]))

    with saying(say) as server:
        error = ended(server.url + "base/")
    assert error.reason.code == Code.REDIRECTED


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (answer(b"<title>It works!</title>"), Code.NO_LISTING),
        (answer(b"PK", kind="application/zip"), Code.NO_LISTING),
        (answer(status=404), Code.NO_LISTING),
        (answer(status=403), Code.NO_LISTING),
        (answer(b"{}", kind="application/json"), Code.NO_LISTING),
        (answer(status=500), Code.SERVER_ERROR),
        (answer(status=502), Code.SERVER_ERROR),
        (answer(status=302, Server="Commonfarm-redirector"), Code.REDIRECTOR),
        (b"hello there, this is HTTP/0.9\n", Code.BAD_ANSWER),
        (b"\x16\x03\x01\x00\xff" * 100, Code.BAD_ANSWER),
        (b"", Code.BAD_ANSWER),
        (answer(b"x" * 10, Content_Length="1000"), Code.TOO_SLOW),
        (answer(b"x", Content_Length="-1"), Code.BAD_ANSWER),
        (answer(b"x", Content_Length="", Transfer_Encoding="chunked"), Code.BAD_ANSWER),
        (answer(gzip.compress(bytes(2**20)), Content_Encoding="gzip"), Code.PACKED),
    ],
)
def test_a_server_that_makes_no_index_is_named(said: bytes, code: Code) -> None:
    def say(_: Asked) -> bytes | Iterable[bytes]:
        return said or [b""]

    # Only who is to be silent is left soon: all others have the time that a busy machine takes.
    limits = replace(SHORT, silence_seconds=0.3) if code == Code.TOO_SLOW else SHORT
    with saying(say) as server:
        error = ended(server.url, limits)
    assert error.reason.code == code, error
    assert error.reason.text


def test_a_folder_that_cannot_be_read_is_left_out() -> None:
    told = {"/": index("a/", "b/", "c/", "1.deb"), "/a/": answer(status=403), "/b/": index("2.deb")}
    told["/c/"] = answer(b"<title>Welcome</title>")
    with pages(told) as server:
        assert listed(server.url) == ["1.deb", "b/2.deb"]


def test_a_server_that_breaks_down_on_the_way_is_an_error() -> None:
    with pages({"/": index("a/", "1.deb"), "/a/": answer(status=500)}) as server:
        files = list_http(server.url, LOCAL, SHORT)
        assert next(files).path == "1.deb"
        with pytest.raises(ScanError) as caught:
            list(files)
    assert caught.value.reason.code == Code.SERVER_ERROR


def test_one_connection_that_breaks_is_tried_again() -> None:
    told: Iterator[bytes | Iterable[bytes]] = iter(
        [iter([b"HTTP/1.1 200 OK\r\nContent-Le"]), index("1.deb")]
    )
    with saying(lambda _: next(told)) as server:
        assert listed(server.url) == ["1.deb"]


@pytest.mark.parametrize(
    ("told", "seconds"), [("7", 7), ("", 1), ("0", 1), ("soon", 1), ("-5", 1), ("9" * 8, 30)]
)
@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_asks_for_a_pause_gets_one(
    monkeypatch: pytest.MonkeyPatch, status: int, told: str, seconds: float
) -> None:
    paused: list[float] = []

    async def sleep(seconds: float) -> None:
        paused.append(seconds)

    busy = answer(status=status, Retry_After=told)
    for answers, good in (([busy, busy, index("1.deb")], True), ([busy, busy, busy], False)):
        paused.clear()
        following = iter(answers)
        with saying(lambda _, following=following: next(following)) as server:  # type: ignore[misc]
            monkeypatch.setattr(asyncio, "sleep", sleep)
            if good:
                assert listed(server.url) == ["1.deb"]
            else:
                assert ended(server.url).reason.code == Code.SERVER_ERROR
            monkeypatch.undo()
        assert paused == [seconds, seconds]


def test_200_to_everything_comes_to_an_end() -> None:
    with saying(lambda _: index("a/", "1.deb")) as server:
        assert listed(server.url) == ["1.deb", "a/1.deb"]
    assert server.paths == ["/", "/a/", "/a/a/"]


def test_a_link_to_a_parent_is_noticed(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("pool/a", "pool/b", "dists"):
        (tree / name).mkdir(parents=True)
        (tree / name / "file").write_bytes(b"x")
    (tree / "debian").symlink_to(".")
    (tree / "pool/up").symlink_to("..")
    with nginx(tmp_path / "home", tree) as url:
        paths = listed(url)
    assert {"dists/file", "pool/a/file", "pool/b/file"} <= set(paths)
    assert len(paths) < 100


def deeper(asked: Asked) -> bytes:
    return index(f"{len(asked.path)}/", f"{len(asked.path)}.deb")


def wider(asked: Asked) -> bytes:
    return index(*(f"{len(asked.path)}-{number}/" for number in range(50)))


def test_a_folder_whose_path_is_too_long_is_left_out() -> None:
    with saying(lambda asked: index(f"{len(asked.path)}{'x' * 3000}/")) as server:
        assert list(list_http(server.url, LOCAL, SHORT)) == []
    assert len(server.asked) == 2


def longer(_: Asked) -> Iterable[bytes]:
    begin = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<title>Index of</title>"
    return without_end(b'<a href="a">a</a>\n' * 1000, begin)


def headers_for_ever(_: Asked) -> Iterable[bytes]:
    return without_end(b"X-More: and more\r\n" * 1000, b"HTTP/1.1 200 OK\r\n")


def one_header_for_ever(_: Asked) -> Iterable[bytes]:
    return without_end(b"x" * 100_000, b"HTTP/1.1 200 OK\r\nX-More: ")


def early_hints_for_ever(_: Asked) -> Iterable[bytes]:
    return without_end(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000)


@pytest.mark.parametrize(
    ("say", "limits", "code"),
    [
        (deeper, replace(SHORT, depth=10), Code.TOO_LARGE),
        (wider, replace(SHORT, folders=200), Code.TOO_LARGE),
        (wider, replace(SHORT, names=200), Code.TOO_LARGE),
        (wider, replace(SHORT, listing_bytes=10_000), Code.TOO_LARGE),
        (longer, replace(SHORT, page_bytes=2**20), Code.TOO_LARGE),
        (headers_for_ever, SHORT, Code.BAD_ANSWER),
        (one_header_for_ever, SHORT, Code.BAD_ANSWER),
        (early_hints_for_ever, replace(SHORT, request_seconds=0.3), Code.TOO_SLOW),
        (early_hints_for_ever, replace(SHORT, total_seconds=0.3), Code.TOO_SLOW),
    ],
)
def test_what_never_ends_is_cut(say: Answer, limits: Limits, code: Code) -> None:
    with saying(say) as server:
        error = ended(server.url, limits)
    assert error.reason.code == code, error


@pytest.mark.parametrize(
    "limits", [replace(SHORT, total_seconds=0.5), replace(SHORT, request_seconds=0.3)]
)
def test_a_slow_drip_is_bounded_by_time(limits: Limits) -> None:
    begin = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
    with saying(lambda _: dripping(server.over, begin)) as server:
        assert ended(server.url, limits).reason.code == Code.TOO_SLOW


def test_a_page_that_changes_its_size_while_it_is_read_is_broken() -> None:
    def short(_: Asked) -> Iterable[bytes]:
        yield answer(b'<a href="a">a</a>', Content_Length="5000")

    with saying(short) as server:
        assert ended(server.url).reason.code == Code.BAD_ANSWER


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def getaddrinfo(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def test_a_name_that_leads_into_private_networks_is_never_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pages({"/": index()}) as server:
        assert ended(server.url, policy=PUBLIC).reason.code == Code.ADDRESS_REFUSED
        for address in ("127.0.0.1", "10.0.0.1", "169.254.169.254"):
            resolving_to(monkeypatch, "8.8.8.8", address)
            error = ended(f"http://mirror.example.org:{server.port}/", policy=PUBLIC)
            assert error.reason.code == Code.ADDRESS_REFUSED
    assert server.asked == []


def test_an_address_where_nothing_listens_is_named() -> None:
    assert ended(f"http://127.0.0.1:{free_port()}/").reason.code == Code.NOT_REACHED


def test_who_stops_reading_ends_the_listing() -> None:
    with saying(wider) as server:
        files = list_http(server.url + "a/", LOCAL, SHORT)
        with pytest.raises(ScanError):
            list(list_http(server.url, LOCAL, replace(SHORT, folders=60)))
        files.close()  # type: ignore[attr-defined]
    with pages({"/": index("a/", "1.deb"), "/a/": index("2.deb")}) as server:
        files = list_http(server.url, LOCAL, SHORT)
        assert next(files).path == "1.deb"
        files.close()  # type: ignore[attr-defined]
        assert list(files) == []
    assert server.paths == ["/"]


def test_many_mirrors_are_listed_at_once() -> None:
    say: Callable[[Asked], bytes] = lambda asked: (  # noqa: E731
        index("a/", "1.deb") if asked.path == "/" else index("2.deb")
    )
    with saying(say) as one, saying(say) as two:
        both = zip(list_http(one.url, LOCAL), list_http(two.url, LOCAL), strict=True)
        assert [(a.path, b.path) for a, b in both] == [("1.deb", "1.deb"), ("a/2.deb", "a/2.deb")]
