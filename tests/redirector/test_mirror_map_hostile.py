"""A header or a section that is signed, and odd all the same, ends as MapError and nothing else.

What the writer takes in was typed by mirrors' administrators, and the signer checks what is true,
not what is well-formed.
"""

from __future__ import annotations

import json
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.redirector.mirror_map import MapError, MirrorMap, load, parse, seal, to_be_signed
from commonfarm.redirector.mirror_map.layout import SECTIONS
from tests.redirector.mirror_maps import FILES, KEY, full

LINE, _, BODY = bytes(full()).partition(b"\n")


def document() -> dict[str, Any]:
    found = json.loads(LINE)
    assert isinstance(found, dict)
    return found


def read(found: Any, body: bytes = BODY) -> MirrorMap:
    return parse(json.dumps(found).encode() + b"\n" + body)


def use(the_map: MirrorMap) -> None:
    """Ask a map for all it can tell."""
    for path in FILES:
        the_map.find(path)
        the_map.resolve(path)
        with suppress(MapError):
            the_map.hashes(path)


def test_the_document_that_is_changed_here_is_a_good_one() -> None:
    assert read(document()).find("demo/pool/1.deb") == FILES["demo/pool/1.deb"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"generation": -1}, "generation is -1"),
        ({"generation": True}, "generation is True"),
        ({"generation": 10**400}, "generation is 1000"),
        ({"base": 1}, "base_sha256"),
        ({"written_at": 3}, "written_at is not a str"),
        ({"written_at": "yesterday"}, "not a date"),
        ({"salt": "ab"}, "salt does not hold 16 bytes"),
        ({"files": 3}, "sections.paths has 1600 bytes"),
        ({"files": 2**31}, "files is"),
        ({"mirrors": {}}, "mirrors is not a list"),
        ({"mirrors": [3]}, r"mirrors\[0\] is not a dict"),
        ({"mirrors": [], "files": 0}, "sections.paths"),
        ({"trees": {}}, "which is no tree of it"),
        ({"trees": {"de/mo": {}}}, "is not the name of a tree"),
        ({"trees": {"de\nmo": {}}}, r"trees\['de\\nmo'\]"),
        ({"overrides": [{"network": "192.0.2.0/24"}]}, r"overrides\[0\] has other fields"),
        ({"sections": {}}, "its sections are not those"),
        ({"hashes": [0, 0]}, "hashes begin at 0"),
        ({"hashes": [0]}, "hashes is not a pair"),
    ],
)
def test_a_header_that_does_not_fit_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(MapError, match=message):
        read(document() | change)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", None),
        ("name", ""),
        ("name", "a\nb"),
        ("name", "\ud800"),
        ("tree", "other"),
        ("subtree", "../etc"),
        ("subtree", "a//b"),
        ("subtree", "/a"),
        ("http", "ftp://one.example.org/"),
        ("http", "https://one.example.org/"),
        ("http", "http://one.example.org"),
        ("http", "http:///demo/"),
        ("http", "http://one.example.org/?a/"),
        ("http", "http://one.example.org/>; rel=duplicate/"),
        ("http", "http://one.example.org/\r\nSet-Cookie: a=b/"),
        ("http", "http://user@one.example.org/"),
        ("http", "http://exämple.org/"),
        ("http", "http://one.example.org/" + "a" * 5000 + "/"),
        ("http", ""),
        ("https", "http://one.example.org/"),
        ("country", "de"),
        ("country", "DE\n"),
        ("country", ""),
        ("latitude", 90.1),
        ("latitude", 10),
        ("latitude", 10**400),
        ("longitude", "10"),
        ("as_number", 2**32),
        ("prefixes", ["192.0.2.1/24"]),
        ("prefixes", "192.0.2.0/24"),
        ("only_countries", ["FRA"]),
        ("only_networks", [1]),
        ("answers", 16),
        ("weight", 0),
        ("weight", 1001),
        ("weight", 1.5),
        ("budget_bytes", -1),
        ("local", 0),
        ("sponsor", "\x1b[2J"),
        ("problem", "a" * 5000),
        ("rank", 1),
    ],
)
def test_a_mirror_that_does_not_fit_is_refused(field: str, value: Any) -> None:
    found = document()
    found["mirrors"][3][field] = value
    with pytest.raises(MapError, match=r"mirrors\[3\]"):
        read(found)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("aliases", {"../a": "b"}),
        ("aliases", {"a": "/etc/passwd"}),
        ("aliases", {"a": "b/../../c"}),
        ("aliases", {"a": "b\0"}),
        ("aliases", {"a": "a"}),
        ("aliases", {"a": "a/b"}),
        ("aliases", {"a": "b", "b": "a"}),
        ("aliases", {"a": "b/x", "b": "c", "c": "a/y"}),
        ("aliases", {f"{number}": f"{number + 1}" for number in range(100)}),
        ("aliases", []),
        ("repositories", {"fedora": "../x"}),
        ("repositories", {"fedora": 1}),
        ("folder", "srv/tree"),
        ("folder", "/srv/../etc"),
        ("folder", 3),
        ("revision", -1),
    ],
)
def test_a_tree_that_does_not_fit_is_refused(field: str, value: Any) -> None:
    found = document()
    found["trees"]["demo"][field] = value
    with pytest.raises(MapError, match=r"trees\['demo'\]"):
        read(found)


def test_aliases_that_only_grow_for_deeper_paths_come_to_an_end() -> None:
    found = document()
    found["trees"]["demo"]["aliases"] = {"a": "b", "b/c": "a/d"}
    the_map = read(found)
    assert the_map.resolve("demo/a/c/e") == "demo/b/d/e"


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 200_000,
        b"{}",
        b"[]",
        b"\xff",
        b"",
        b'{"generation": NaN}',
        b'{"generation": %s}' % (b"9" * 5000),
    ],
)
def test_a_header_that_is_no_document_is_refused(line: bytes) -> None:
    with pytest.raises(MapError):
        parse(line + b"\n" + BODY)


def test_too_long_a_header_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commonfarm.redirector.mirror_map.reading.MOST_HEADER_BYTES", 65_000)
    line = LINE + b" " * 100_000
    (tmp_path / "current").write_bytes(seal(line + b"\n" + BODY, KEY.sign(to_be_signed(line))))
    with pytest.raises(MapError, match="header has more than 65000 bytes"):
        load(tmp_path, KEY.public_key())


_SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from(["a/b", "..", "demo", "http://x.org/", "192.0.2.0/24", "DE"])
)
_JSON = (
    _SCALAR
    | st.lists(_SCALAR, max_size=3)
    | st.dictionaries(st.text(max_size=5), _SCALAR, max_size=3)
)


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_any_value_anywhere_in_the_header_is_used_or_refused(data: st.DataObject) -> None:
    found: Any = document()
    place = found
    while True:
        keys = sorted(place) if isinstance(place, dict) else range(len(place))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(_JSON)
    try:
        the_map = read(found)
    except MapError:
        return
    use(the_map)


@given(
    section=st.sampled_from([one for one in SECTIONS if one != "rows"]),
    position=st.integers(0, 10**6),
    value=st.binary(min_size=1, max_size=16),
)
@settings(deadline=None, max_examples=60)
def test_any_bytes_in_a_section_harm_nobody(section: str, position: int, value: bytes) -> None:
    found, body = document(), bytearray(BODY)
    offset, length, _ = found["sections"][section]
    at = offset + position % length
    body[at : min(at + len(value), offset + length)] = value[: offset + length - at]
    found["sections"][section][2] = sha256(body[offset : offset + length]).hexdigest()
    try:
        the_map = read(found, bytes(body))
    except MapError as error:
        assert section == "buckets", error
        return
    use(the_map)


@given(position=st.integers(0, 10**6), value=st.binary(min_size=1, max_size=16))
@settings(deadline=None, max_examples=60)
def test_any_bytes_among_the_further_hashes_harm_nobody(position: int, value: bytes) -> None:
    """They are pinned anew here, as if the writer itself had made them."""
    found, body = document(), bytearray(BODY)
    start, length = found["hashes"]
    at = start + position % length
    body[at : min(at + len(value), start + length)] = value[: start + length - at]
    digests = b"".join(
        sha256(body[block : min(block + 16384, start + length)]).digest()
        for block in range(start, start + length, 16384)
    )
    offset, size, _ = found["sections"]["blocks"]
    body[offset : offset + size] = digests
    found["sections"]["blocks"][2] = sha256(digests).hexdigest()
    use(read(found, bytes(body)))
