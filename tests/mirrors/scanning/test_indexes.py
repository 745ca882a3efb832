"""One reader for the indexes of all usual web servers, as the real ones write them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.mirrors.scanning import Limits, Listed, list_http
from commonfarm.mirrors.scanning.indexes import Entry, NotAnIndexError, entries_of
from tests.mirrors.scanning import servers
from tests.mirrors.scanning.hostile import LOCAL

SIZES = {
    "a.deb": 5,
    "b & c?#'\".deb": 700,
    "<x>.txt": 100,
    "p%2fq": 3,
    "a;b:c": 3,
    "x" * 90 + ".deb": 2000,
    "pool/ä.iso": 12_345_678,
    "pool/with space/g.iso": 5 * 2**30,
    "pool/~+=@,!$()*": 40,
    "empty": 0,
}
EDGES = (972, 973, 1023, 1024, 9999, 10_000, 10_189, 10_239, 1_048_575, 1_048_576, 1_572_865)
SIZES |= {f"edges/{size}": size for size in EDGES}
AT = 1_795_000_000 // 60 * 60
URL = "http://mirror.example.org/debian/"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("tree")
    for path, size in SIZES.items():
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        with (top / path).open("wb") as file:
            file.truncate(size)
        os.utime(top / path, (AT, AT))
    return top


CASES: list[tuple[str, Any, str, bool]] = [
    ("apache2", servers.apache, "IndexOptions FancyIndexing", False),
    ("apache2", servers.apache, "", False),
    (
        "apache2",
        servers.apache,
        "IndexOptions FancyIndexing HTMLTable XHTML IconsAreLinks NameWidth=*",
        False,
    ),
    ("nginx", servers.nginx, "", True),
    ("nginx", servers.nginx, "autoindex_exact_size off;", False),
    ("nginx", servers.nginx, "autoindex_format json;", True),
    ("lighttpd", servers.lighttpd, "", False),
    ("caddy", servers.caddy, "", True),
]


@pytest.mark.parametrize(("program", "server", "options", "exact"), CASES)
def test_every_usual_server_is_read(
    tmp_path: Path,
    folder: Path,
    program: str,
    server: Any,
    options: str,
    exact: bool,
) -> None:
    with server(tmp_path / "home", folder, options) as url:
        listed = {file.path: file for file in list_http(url, LOCAL)}
    assert listed.keys() == SIZES.keys()
    for path, size in SIZES.items():
        assert listed[path].could_be(size), listed[path]
        if exact:
            assert (listed[path].size, listed[path].exact) == (size, True)
        if options or program != "apache2":
            assert abs((listed[path].modified_at or 0) - AT) < 60
            # What is rounded still tells an image from half of one.
            assert not listed[path].could_be(size * 2 + 300)


@pytest.mark.parametrize(
    ("row", "entry"),
    [
        # nginx's fancyindex module, size before date
        (
            '<a href="a.iso">a.iso</a></td><td class="size">1.5 MiB</td><td>2026-Jan-02 03:04</td>',
            Entry("a.iso", False, 1_572_864, 104_857, 1_767_323_040),
        ),
        ("<A HREF='a'>a</A> 02-Jan-2026 03:04  1K", Entry("a", False, 1024, 1024, 1_767_323_040)),
        (
            '<a href="a"><svg><use href="#f"/></svg></a><td data-size="1234">1.2 KiB</td>',
            Entry("a", False, 1234, 0, None),
        ),
        ('<a href="a">a</a> 02-Xyz-2026 03:04 7', Entry("a", False, 7, 0, None)),
        ('<a href="a">a</a> 2026-02-31 03:04 7', Entry("a", False, 7, 0, None)),
        ('<a href="/debian/a">a</a>', Entry("a", False, -1, 0, None)),
        (f'<a href="{URL}a/">a</a>', Entry("a", True, -1, 0, None)),
    ],
)
def test_rows_of_other_kinds_are_read(row: str, entry: Entry) -> None:
    assert entries_of(row.encode(), URL, "text/html") == [entry]


@pytest.mark.parametrize(
    "href",
    [
        *("../", "..", "./", ".", "/", "", "/debian/", "/etc/passwd", "//evil.example.org/a"),
        *("a%2fb", "%2e%2e/", "..%2f", "%2e%2e", "a/../../b", "a/b", "a%00b", "a%0ab", "a\x7f"),
        *("?C=M", "a?x=1", "a#b", "&#63;C=M", "http://evil.example.org/a", "javascript:alert(1)"),
        *("mailto:a@example.org", "%ff.deb", "&#47;etc/passwd", "https://mirror.example.org/a"),
    ],
)
def test_what_is_no_name_in_the_folder_is_not_named(href: str) -> None:
    page = f'<title>Index of</title><a href="{href}">a</a> 02-Jan-2026 03:04 7'.encode()
    assert entries_of(page, URL, "text/html") == []


@pytest.mark.parametrize(
    "page",
    [
        b"[",
        b"{}",
        b"null",
        b"[1]",
        b'[{"name": 1}]',
        b"[" * 100_000,
        b'[{"name": "a", "size": 1' + b"0" * 5000 + b"}]",
        b"\xff\xfe",
    ],
)
def test_json_that_is_no_index_is_named(page: bytes) -> None:
    with pytest.raises(NotAnIndexError):
        entries_of(page, URL, "application/json")


def test_json_is_believed_no_name_and_no_size() -> None:
    page = (
        b'[{"name":"../up","size":1},{"name":"/a","size":1},{"name":"a","size":-5},'
        b'{"name":"b","size":true},{"name":"c","size":"7"},{"name":"d","type":"other"},'
        b'{"name":"e","size":7,"mtime":"yesterday"},{"name":"\\u0000"},{"name":"\\ud800"}]'
    )
    assert [entry[:3] for entry in entries_of(page, URL, "application/json")] == [
        ("a", False, -1),
        ("b", False, -1),
        ("c", False, -1),
        ("e", False, 7),
    ]


def test_a_page_that_is_called_json_is_read_as_what_it_is() -> None:
    page = (
        b'\n<!DOCTYPE html><a href="a">a</a></td><td class="m">2026-Jan-02 03:04:05</td><td>7</td>'
    )
    found = entries_of(page, URL, "application/json")
    assert found == [Entry("a", False, 7, 0, 1_767_323_045)]


def test_an_empty_folder_is_an_index_and_a_page_is_not() -> None:
    assert entries_of(b"<title>Index of /</title>", URL, "text/html") == []
    with pytest.raises(NotAnIndexError):
        entries_of(b"<title>It works!</title>", URL, "text/html")


@pytest.mark.parametrize(
    "piece",
    [
        b"<a ",
        b"<a href=",
        b'<a href="x',
        b'<a href="x">',
        b"<",
        b"<b ",
        b" ",
        b"&nbsp;",
        b"1.",
        b"'",
    ],
)
def test_no_page_takes_more_time_than_its_length_is_worth(piece: bytes) -> None:
    # In quadratic time each of these would take hours.
    page = b'<a href="x">x</a>' + piece * (2_000_000 // len(piece))
    assert len(entries_of(page, URL, "text/html")) == 1


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=400), st.sampled_from(["text/html", "application/json"]))
def test_whatever_a_server_sends_is_entries_or_no_index(page: bytes, kind: str) -> None:
    for prefix in (b"", b'<a href="', b'<a href="a">a</a> '):
        try:
            entries = entries_of(prefix + page, URL, kind)
        except NotAnIndexError:
            continue
        for entry in entries:
            assert entry.name not in ("", ".", "..")
            assert "/" not in entry.name
            assert entry.name.isprintable() or " " in entry.name or "\xa0" in entry.name


def test_how_far_a_rounded_size_may_be_off() -> None:
    rounded = Listed("a", 1_258_291, False, None, 104_857)
    assert rounded.could_be(1_200_000)
    assert not rounded.could_be(1_000_000)
    assert Listed("a", -1, False, None).could_be(7)
    assert not Listed("a", 6, True, None).could_be(7)
    assert Limits().at_once > 1
