"""The manifest as a format: what is written is read again, and nothing else is believed."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from commonfarm.archive import envelopes, manifest
from commonfarm.archive.manifest import Alias, File, Gone, Head, NoManifestError, Segment, Statement

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
HEAD = Head("main", 12, 11)
SHA256 = "ab" * 32

paths = st.text(min_size=1, max_size=40).filter(
    lambda one: manifest.is_path(one) and not manifest.is_reserved(one)
)
times = st.datetimes(datetime(1970, 1, 1), datetime(2999, 1, 1)).map(
    lambda one: one.replace(microsecond=0, tzinfo=UTC)
)
files = st.builds(
    File,
    path=paths,
    size=st.integers(0, 2**62),
    sha256=st.binary(min_size=32, max_size=32).map(bytes.hex),
    not_before=st.none() | times,
) | st.builds(
    lambda path, count, end: File(path, (count << 18) - end, SHA256, 2**18, b"p" * 32 * count),
    paths,
    st.integers(1, 40),
    st.integers(0, 2**18 - 1),
)
entries = files | st.builds(Alias, paths, paths) | st.builds(Gone, paths)


def read(data: bytes) -> tuple[Head, list[manifest.Entry]]:
    head, found = manifest.read_segment(io.BytesIO(data))
    return head, list(found)


@given(st.lists(entries, max_size=20))
def test_what_is_written_is_read_again(listed: list[manifest.Entry]) -> None:
    packed = manifest.pack(manifest.lines(HEAD, listed))
    assert read(packed) == (HEAD, listed)
    assert packed == manifest.pack(manifest.lines(HEAD, listed))
    assert manifest.unpacks_to(io.BytesIO(packed), manifest.lines(HEAD, listed))
    more = [*listed, Gone("x")]
    assert not manifest.unpacks_to(io.BytesIO(packed), manifest.lines(HEAD, more))
    longer = manifest.pack(manifest.lines(HEAD, more))
    assert not manifest.unpacks_to(io.BytesIO(longer), manifest.lines(HEAD, listed))


@given(st.binary(max_size=200), st.integers(0, 200), st.integers(0, 255))
def test_no_bytes_make_the_reader_fail_otherwise(data: bytes, at: int, to: int) -> None:
    good = bytearray(manifest.pack(manifest.lines(HEAD, [File("a", 1, SHA256), Alias("b", "a")])))
    good[at % len(good)] = to
    for one in (data, bytes(good), gzip.compress(data)):
        try:
            read(one)
        except NoManifestError as error:
            assert str(error).isprintable()
        manifest.unpacks_to(io.BytesIO(one), manifest.lines(HEAD, []))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda some: st.lists(some, max_size=3) | st.dictionaries(st.text(max_size=8), some),
    max_leaves=8,
)
LINE = {
    "path": "a",
    "size": 2**18,
    "sha256": SHA256,
    "piece_bytes": 2**18,
    "pieces": "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=",
    "not_before": "2026-11-21T12:00:00Z",
}


@given(st.sampled_from([*LINE, "alias", "gone", "other"]), json_values)
def test_a_line_with_something_odd_is_read_or_refused(key: str, value: Any) -> None:
    text = b"".join(manifest.lines(HEAD, [])) + json.dumps(LINE | {key: value}).encode()
    try:
        (_, (found,)) = read(gzip.compress(text))
    except NoManifestError:
        return
    assert manifest.is_path(found.path)
    if isinstance(found, File):
        assert 0 <= found.size < 2**63 and len(found.sha256) == 64


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "../a", "a/..", "./a", "a\0b", "a\nb", "\x9b", "\ud800", "a" * 1001],
)
def test_paths_that_leave_the_tree_or_the_line_are_refused(path: str) -> None:
    assert not manifest.is_path(path)
    head = b"".join(manifest.lines(HEAD, []))
    for said in ({"path": path, "gone": True}, {"path": "a", "alias": path}):
        with pytest.raises(NoManifestError):
            read(gzip.compress(head + json.dumps(said).encode()))


def test_a_manifest_lists_nothing_of_its_own() -> None:
    with pytest.raises(NoManifestError, match="no path in a tree"):
        read(manifest.pack(manifest.lines(HEAD, [File(manifest.STATEMENT_PATH, 1, SHA256)])))


def test_bombs_end_early(monkeypatch: pytest.MonkeyPatch) -> None:
    head = b"".join(manifest.lines(HEAD, []))
    with pytest.raises(NoManifestError, match="a line of more than"):
        read(gzip.compress(head + b" " * 10_000_000))
    with pytest.raises(NoManifestError, match="not JSON"):
        read(gzip.compress(head + b"[" * 200_000))
    monkeypatch.setattr(manifest, "MOST_UNPACKED_BYTES", 100_000)
    with pytest.raises(NoManifestError, match="unpacks to more than"):
        read(gzip.compress(head + b'{"path":"a","gone":true}\n' * 10_000))


STATEMENT = Statement("prod", "main", 12, AT, AT, (Segment(11, 5, SHA256), Segment(12, 6, SHA256)))


def test_a_statement_is_believed_of_its_signer_only() -> None:
    sealed = manifest.seal(STATEMENT, KEY)
    assert manifest.unseal(sealed, KEY.public_key()) == STATEMENT
    assert sealed == manifest.seal(STATEMENT, KEY)
    with pytest.raises(manifest.NotTrustedError, match="not signed by this key"):
        manifest.unseal(sealed, Ed25519PrivateKey.generate().public_key())
    other = envelopes.seal(manifest.encode(STATEMENT), "application/vnd.in-toto+json", KEY)
    with pytest.raises(manifest.NotTrustedError, match="what is signed is"):
        manifest.unseal(other, KEY.public_key())
    for nonsense in (b"", b"{}", b"[]", b'{"payload": 1}', b"\xff", sealed[:-9], b"[" * 100_000):
        with pytest.raises(NoManifestError):
            manifest.unseal(nonsense, KEY.public_key())


@given(
    st.sampled_from([*json.loads(manifest.encode(STATEMENT)), "other"]),
    json_values | st.lists(st.fixed_dictionaries({"path": json_values, "revision": json_values})),
)
def test_a_signed_statement_with_something_odd_is_read_or_refused(key: str, value: Any) -> None:
    said = json.loads(manifest.encode(STATEMENT)) | {key: value}
    try:
        found = manifest.decode(json.dumps(said).encode())
    except NoManifestError:
        return
    assert found.segments[-1].revision == found.revision


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [(12, 5)] * 2,
        [(12, 5), (11, 5)],
        [(10, 5), (11, 5)],
        [(12, 0)],
        [(12, manifest.MOST_SEGMENT_BYTES + 1)],
        [(number, 5) for number in range(1, 1100)],
    ],
)
def test_segments_that_lead_nowhere_are_refused(segments: list[tuple[int, int]]) -> None:
    said = json.loads(manifest.encode(STATEMENT))
    said["segments"] = [
        {"path": manifest.segment_path(one), "revision": one, "size": size, "sha256": SHA256}
        for one, size in segments
    ]
    with pytest.raises(NoManifestError):
        manifest.decode(json.dumps(said).encode())
