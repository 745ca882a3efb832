"""The pure parts: control fields, indexes, provenance."""

from __future__ import annotations

import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from debian.deb822 import Packages
from hypothesis import given
from hypothesis import strategies as st

from commonfarm.archive import deb, index, provenance
from commonfarm.archive.signer import protocol
from commonfarm.lib.errors import BadInputError
from tests.archive.world import make_deb

GOOD = "Package: hello\nVersion: 1:2.10-3\nArchitecture: amd64\nDescription: a\n b\n .\n c\n"


def test_a_real_package_is_read(tmp_path: Path) -> None:
    file = make_deb(tmp_path, "hello", "1:2.10-3", "amd64")
    control = deb.read_control(file, "hello_2.10-3_amd64.deb", "amd64")
    assert (control.package, control.version, control.source) == ("hello", "1:2.10-3", "hello")


@pytest.mark.parametrize("content", [b"", b"!<arch>\n", b"\0" * 4096, b"!<arch>\n" + b"x" * 999])
def test_what_is_no_package_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "f"
    file.write_bytes(content)
    with pytest.raises(BadInputError, match="no Debian package"):
        deb.read_control(file, "hello_1_amd64.deb", "amd64")


def test_a_control_file_without_end_is_refused(tmp_path: Path) -> None:
    file = make_deb(tmp_path, "hello", "1", "amd64", more="X-Bomb: " + "a" * 20_000_000)
    with pytest.raises(BadInputError, match="more than 262144 bytes"):
        deb.read_control(file, "hello_1_amd64.deb", "amd64")


def test_a_control_archive_of_nested_long_names_is_refused(tmp_path: Path) -> None:
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 2
    nested = (name.tobuf(tarfile.GNU_FORMAT) + b"a".ljust(512, b"\0")) * 2000
    package = b"!<arch>\n"
    for member, content in (
        ("debian-binary", b"2.0\n"),
        ("control.tar", nested + bytes(1024)),
        ("data.tar", bytes(1024)),
    ):
        header = f"{member:16}{0:<12}{0:<6}{0:<6}{'100644':8}{len(content):<10}`\n"
        package += header.encode() + content
    file = tmp_path / "hello_1_amd64.deb"
    file.write_bytes(package)
    with pytest.raises(BadInputError, match="cannot be read: RecursionError"):
        deb.read_control(file, file.name, "amd64")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace("hello", "../x"), "field Package"),
        (GOOD.replace("1:2.10-3", "1/2"), "field Version"),
        (GOOD.replace("amd64", "riscv64"), "for riscv64, not for amd64"),
        (GOOD.replace("hello", "hallo"), "it is called hallo_2.10-3_amd64.deb"),
        (GOOD + "Source: ../../etc\n", "field Source"),
        (GOOD + f"Source: {'a' * 201}\n", "field Source"),
        (GOOD + "X: a\x01b\n", "not a field of one paragraph"),
        ("", "field Package"),
        (GOOD.replace("2.10", "2." + "1" * 190), "more than 200 characters"),
        (GOOD + "".join(f"X-{n}: 1\n" for n in range(200)), "more than 100"),
    ],
)
def test_fields_that_cannot_be_are_refused(text: str, says: str) -> None:
    with pytest.raises(BadInputError) as refused:
        deb.check_control(text, "hello_2.10-3_amd64.deb", "amd64")
    assert says in str(refused.value)


def test_a_package_cannot_set_what_the_archive_says_of_it() -> None:
    text = GOOD + "Filename: ../../other.deb\nSHA256: 00\nsize: 1\nMD5sum: 0\n"
    control = deb.check_control(text, "hello_2.10-3_amd64.deb", "amd64")
    paragraph = index.stanza(index.Package(control.fields, "pool/h.deb", 7, "ab"))
    assert "other.deb" not in paragraph
    (read,) = Packages.iter_paragraphs(paragraph.encode(), use_apt_pkg=False)
    assert (read["Filename"], read["Size"], read["SHA256"]) == ("pool/h.deb", "7", "ab")
    assert read["Description"] == "a\n b\n .\n c"
    assert "MD5sum" not in read


@pytest.mark.parametrize("suffix", index.PACKINGS)
@given(old=st.binary(), new=st.binary())
def test_an_extended_index_is_the_whole_text(suffix: str, old: bytes, new: bytes) -> None:
    packed = index.extend(suffix, b"", b"", old)
    extended = index.extend(suffix, old, packed, old + new)
    assert extended.startswith(packed)
    assert index.unpacks_to(suffix, extended, old + new)
    assert not index.unpacks_to(suffix, extended, old + new + b"x")
    assert not index.unpacks_to(suffix, index.extend(suffix, b"", extended, b"x"), old + new)
    assert index.unpacks_to(suffix, index.extend(suffix, old + b"x", packed, new), new)


@pytest.mark.parametrize("suffix", index.PACKINGS)
@given(packed=st.binary(max_size=200), at=st.integers(0, 99), to=st.integers(0, 255))
def test_what_is_damaged_unpacks_to_nothing_else(
    suffix: str, packed: bytes, at: int, to: int
) -> None:
    text = b"Package: a\n" * 9
    assert not index.unpacks_to(suffix, packed, text)
    good = index.extend(suffix, b"", b"", text)
    assert not index.unpacks_to(suffix, good[: at % len(good)], text)
    damaged = bytearray(good)
    damaged[at % len(good)] = to
    index.unpacks_to(suffix, bytes(damaged), text)


def test_the_release_says_until_when() -> None:
    release = index.Release(
        "o", "l", "bookworm", datetime(2026, 1, 1, tzinfo=UTC), 86400, ("amd64",), ("main",)
    )
    text = index.release_text(release, [index.File("b", 1, "bb"), index.File("a", 2, "aa")])
    assert b"Date: Thu, 01 Jan 2026 00:00:00 UTC\n" in text
    assert b"Valid-Until: Fri, 02 Jan 2026 00:00:00 UTC\n" in text
    assert text.endswith(b"SHA256:\n aa 2 a\n bb 1 b\n")


def test_pool_paths_are_those_of_debian_with_a_pool_per_distribution() -> None:
    assert index.pool_path("s", "main", "hello", "h.deb") == "pool/s/main/h/hello/h.deb"
    assert index.pool_path("s", "main", "libfoo", "f.deb") == "pool/s/main/libf/libfoo/f.deb"


FACTS = {
    "target": "bookworm-amd64",
    "source": {"name": "hello", "version": "1", "files": [{"name": "a.dsc", "sha256": "11"}]},
    "builder": "builder:b1@3",
    "job": 4,
    "lease": 5,
    "agent": {
        "packages": ["gcc 4:12 amd64"],
        "base_root": {"digest": "99"},
        "limits": {"memory": "cgroup2"},
    },
}


def test_provenance_is_verified_against_file_and_key() -> None:
    key = Ed25519PrivateKey.generate()
    sealed = provenance.seal(provenance.statement("a.deb", "ab" * 32, FACTS), key)
    found = provenance.verify(sealed, "ab" * 32, key.public_key())
    build = found["predicate"]["buildDefinition"]
    assert {"uri": "pkg:deb/debian/gcc@4%3A12?arch=amd64"} in build["resolvedDependencies"]
    assert {"name": "a.dsc", "digest": {"sha256": "11"}} in build["resolvedDependencies"]
    assert found["predicate"]["runDetails"]["builder"]["id"].endswith("builder:b1@3")
    with pytest.raises(provenance.NotVerifiedError, match="not signed by this key"):
        provenance.verify(sealed, "ab" * 32, Ed25519PrivateKey.generate().public_key())
    with pytest.raises(provenance.NotVerifiedError, match="is about abab"):
        provenance.verify(sealed, "cd" * 32, key.public_key())
    changed = json.loads(sealed)
    changed["payloadType"] = "text/plain"
    with pytest.raises(provenance.NotVerifiedError):
        provenance.verify(json.dumps(changed).encode(), "ab" * 32, key.public_key())
    for nonsense in (b"", b"{}", b"[]", b'{"payload": 1}', b"\xff"):
        with pytest.raises(provenance.NoProvenanceError):
            provenance.verify(nonsense, "ab" * 32, key.public_key())


def test_as_many_of_the_largest_statements_as_may_be_asked_for_fit_into_one_answer() -> None:
    statement = {"": "x" * provenance.MOST_STATEMENT_BYTES}
    sealed = provenance.seal(statement, Ed25519PrivateKey.generate())
    assert len(json.dumps(sealed.decode())) * protocol.MOST_IDS < protocol.MOST_ANSWER_BYTES
