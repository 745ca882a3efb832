"""A source package is believed only after its signature, sums, names and tarballs were checked."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from commonfarm.farm.sources import check_files, read_dsc
from commonfarm.farm.tarballs import Bounds
from commonfarm.lib.errors import BadInputError
from tests.farm.packages import Signer, files_of, make_source


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    yield Signer.make(tmp_path_factory.mktemp("gpg") / "home")


def refusal(data: bytes, **arguments: object) -> str:
    with pytest.raises(BadInputError) as caught:
        read_dsc(data, **arguments)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("version", ["1.0-1", "2.0", "1:3.0~rc1-2"])
def test_a_real_source_package_is_accepted(tmp_path: Path, version: str) -> None:
    made = make_source(tmp_path, version.rpartition(":")[2])
    if ":" in version:
        text = made.read_text().replace("Version: 3.0", "Version: 1:3.0")
        made.write_text(text)
    dsc = read_dsc(made.read_bytes())
    assert (dsc.source, dsc.version, dsc.signed_by) == ("greeting", version, "")
    assert dsc.file_name == made.name
    assert dsc.architectures == ("any",)
    check_files(dsc, files_of(made))


def test_a_good_signature_is_known_by_its_key(tmp_path: Path, signer: Signer) -> None:
    signed = signer.sign(make_source(tmp_path))
    for keyring in (signer.keyring, signer.armoured_keyring()):
        dsc = read_dsc(signed, keyrings=[keyring], must_be_signed=True)
        assert dsc.signed_by == signer.fingerprint
    assert read_dsc(signed).signed_by == ""


def test_where_signatures_are_demanded_nothing_else_passes(tmp_path: Path, signer: Signer) -> None:
    plain = make_source(tmp_path)
    stranger = Signer.make(tmp_path / "stranger")
    signed = signer.sign(plain)
    demand = {"keyrings": [signer.keyring], "must_be_signed": True}
    assert "not signed, and the target demands it" in refusal(plain.read_bytes(), **demand)
    assert "keyring does not hold" in refusal(stranger.sign(plain), **demand)
    assert "keyring does not hold" in refusal(signed, must_be_signed=True)


def test_a_bad_signature_is_refused_even_where_none_is_demanded(
    tmp_path: Path, signer: Signer
) -> None:
    signed = signer.sign(make_source(tmp_path)).replace(b"greeting", b"fleeting", 1)
    assert "signature is not good" in refusal(signed, keyrings=[signer.keyring])


def test_the_signature_of_a_key_that_is_expired_or_revoked_is_not_good(tmp_path: Path) -> None:
    plain = make_source(tmp_path)
    expired = Signer.make_expired(tmp_path / "expired")
    revoked = Signer.make(tmp_path / "revoked")
    by_revoked = revoked.sign(plain)
    assert read_dsc(by_revoked, keyrings=[revoked.keyring]).signed_by == revoked.fingerprint
    revoked.revoke()
    for signed, signer in ((expired.sign(plain), expired), (by_revoked, revoked)):
        assert "signature is not good" in refusal(signed, keyrings=[signer.keyring])


def test_text_around_the_signed_message_is_not_read(tmp_path: Path, signer: Signer) -> None:
    signed = signer.sign(make_source(tmp_path))
    assert "before the signed message" in refusal(b"Source: other\n\n" + signed)
    for dsc in (
        read_dsc(signed + b"Source: other\n"),
        read_dsc(signed + b"Source: other\n", keyrings=[signer.keyring], must_be_signed=True),
    ):
        assert dsc.source == "greeting"


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("greeting_1.0.orig.tar.gz", "../../etc/passwd", "leaves its directory"),
        ("greeting_1.0.orig.tar.gz", "/etc/passwd", "leaves its directory"),
        ("greeting_1.0.orig.tar.gz", "other_1.0.orig.tar.gz", "does not belong to greeting 1.0-1"),
        ("greeting_1.0.orig.tar.gz", "greeting_1.0.orig.tar.zst", "compressed as one of gz"),
        ("Source: greeting", "Source: ../greeting", "is not a source name"),
        ("Version: 1.0-1", "Version: 1.0/1", "is not a version"),
        ("Format: 3.0 (quilt)", "Format: 3.0 (git)", "is not built here"),
        ("Source: greeting\n", "", "it has no Source"),
        ("Checksums-Sha256:", "Checksums-Sha255:", "names no file by SHA-256"),
        ("Files:\n", "Files:\n 00 1 greeting_1.0.orig.tar.xz\n", "names other files or sizes"),
    ],
)
def test_a_dsc_that_is_odd_is_refused(tmp_path: Path, old: str, new: str, told: str) -> None:
    text = make_source(tmp_path).read_text()
    assert old in text
    assert told in refusal(text.replace(old, new).encode())


def test_a_fault_names_its_line(tmp_path: Path) -> None:
    text = make_source(tmp_path).read_text()
    number = text.splitlines().index("Checksums-Sha256:") + 2
    row = text.splitlines()[number - 1]
    wrong = text.replace(row, " " + "0" * 63 + row[65:])
    assert refusal(wrong.encode()).startswith(f".dsc:{number}: ")


@pytest.mark.parametrize("data", [b"", b"\xff\xfe", b"Source: a\0b\n", b"x" * 2_000_000])
def test_what_is_no_dsc_at_all_is_refused(data: bytes) -> None:
    assert refusal(data)


def test_every_wrong_missing_or_unknown_file_is_named(tmp_path: Path) -> None:
    made = make_source(tmp_path)
    dsc, files = read_dsc(made.read_bytes()), files_of(made)
    orig, debian = "greeting_1.0.orig.tar.gz", "greeting_1.0-1.debian.tar.xz"
    size = files[orig].stat().st_size
    files[orig].write_bytes(b"\0" * size)
    other = tmp_path / "other.tar.gz"
    other.write_bytes(b"")
    with pytest.raises(BadInputError) as caught:
        check_files(dsc, {orig: files[orig], "other.tar.gz": other})
    told = str(caught.value)
    assert f"{orig} has the SHA-256" in told
    assert f"{debian} is named here but was not brought" in told
    assert "other.tar.gz: the .dsc does not name this file" in told
    files[orig].write_bytes(b"\0")
    with pytest.raises(BadInputError, match=f"has 1 bytes, not the {size}"):
        check_files(dsc, files)


def with_tarball(folder: Path, name: str, data: bytes) -> tuple[bytes, dict[str, Path]]:
    """Return a native source package whose only file is `data`."""
    path = folder / name
    path.write_bytes(data)
    row = f" {hashlib.sha256(data).hexdigest()} {len(data)} {name}"
    text = (
        "Format: 3.0 (native)\nSource: greeting\nArchitecture: any\nVersion: 1\n"
        f"Checksums-Sha256:\n{row}\n"
    )
    return text.encode(), {name: path}


def tar_of(*members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"\0" * member.size) if member.isreg() else None)
    return out.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def big(size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo("greeting-1/zeros")
    info.size = size
    return info


def tarball_refusal(folder: Path, data: bytes, bounds: Bounds | None = None) -> str:
    text, files = with_tarball(folder, "greeting_1.tar.xz", data)
    with pytest.raises(BadInputError) as caught:
        check_files(read_dsc(text), files, bounds)
    return str(caught.value)


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ([member("/etc/passwd")], "leaves its directory"),
        ([member("greeting-1/../../x")], "leaves its directory"),
        ([member("a", tarfile.LNKTYPE, "../../etc/passwd")], "leaves its directory"),
        ([member("a", tarfile.SYMTYPE, "/etc"), member("a/passwd")], "behind a symbolic link"),
        ([member("a", tarfile.SYMTYPE, "/etc/x"), member("a")], "behind a symbolic link"),
        ([member("a/b", tarfile.SYMTYPE, "/etc"), member("a/b/c/d")], "behind a symbolic link"),
        ([member(".", tarfile.SYMTYPE, "/etc"), member("a")], "behind a symbolic link"),
        ([member("a", tarfile.CHRTYPE)], "device or a pipe"),
        ([member("a", tarfile.FIFOTYPE)], "device or a pipe"),
    ],
)
def test_a_member_that_leaves_is_refused(
    tmp_path: Path, members: list[tarfile.TarInfo], told: str
) -> None:
    assert told in tarball_refusal(tmp_path, lzma.compress(tar_of(*members)))


def test_a_symbolic_link_as_such_is_fine(tmp_path: Path) -> None:
    data = lzma.compress(tar_of(member("greeting-1/a", tarfile.SYMTYPE, "/usr/share/x")))
    text, files = with_tarball(tmp_path, "greeting_1.tar.xz", data)
    check_files(read_dsc(text), files)


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    bomb = lzma.compress(tar_of(big(100 * 2**20)))
    assert len(bomb) < 100_000
    assert "more than 200 times its size" in tarball_refusal(tmp_path, bomb)
    assert "more than 1000000 bytes" in tarball_refusal(
        tmp_path, bomb, Bounds(unpacked_bytes=1_000_000)
    )
    many = lzma.compress(tar_of(*(member(f"greeting-1/{n}") for n in range(11))))
    assert "more than 10 members" in tarball_refusal(tmp_path, many, Bounds(members=10))


def test_a_header_that_wants_the_memory_is_refused(tmp_path: Path) -> None:
    header = big(2**30)
    header.type = tarfile.XHDTYPE
    data = lzma.compress(header.tobuf() + b"\0" * 2**20)
    assert "a member has headers of 107374" in tarball_refusal(tmp_path, data)


def sparse(size_map: bytes) -> bytes:
    """Return a tarball whose only member is sparse, in the form 1.0 of GNU tar."""
    form = {"major": "1", "minor": "0", "name": "greeting-1/a", "realsize": "0"}
    info = member("greeting-1/a")
    info.size = len(size_map)
    info.pax_headers = {f"GNU.sparse.{key}": value for key, value in form.items()}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(info, io.BytesIO(size_map))
    return out.getvalue()


def test_headers_that_add_up_are_refused(tmp_path: Path) -> None:
    million = b"1000000\n" + b"0\n" * 2_000_000
    assert "a member has headers of" in tarball_refusal(tmp_path, lzma.compress(sparse(million)))
    data = io.BytesIO()
    headers = {f"key{n}": "value" for n in range(65)}
    with tarfile.open(fileobj=data, mode="w", pax_headers=headers) as tar:
        tar.addfile(member("greeting-1/a"))
    told = tarball_refusal(tmp_path, lzma.compress(data.getvalue()))
    assert "more than 64 global headers" in told


@pytest.mark.parametrize("size_map", [b"", b"x\n", b"1\n0\n", b"1\n0\nx\n", b"1\n" + b"9" * 512])
def test_a_sparse_map_that_is_none_is_refused(tmp_path: Path, size_map: bytes) -> None:
    assert "not a tarball" in tarball_refusal(tmp_path, lzma.compress(sparse(size_map)))


def test_a_long_chain_of_headers_is_refused(tmp_path: Path) -> None:
    header = member("x", tarfile.XHDTYPE).tobuf()
    data = lzma.compress(header * 1000 + member("greeting-1/a").tobuf() + b"\0" * 1024)
    assert "not a tarball" in tarball_refusal(tmp_path, data)


@pytest.mark.parametrize(
    "odd",
    [
        member("a/" * 500_000),
        member("a/" * 300),
        member("a" * 4097),
        member("a", tarfile.LNKTYPE, "a" * 4097),
        member("a", tarfile.SYMTYPE, "a" * 4097),
    ],
    ids=["many parts", "deep", "long", "long link", "long symbolic link"],
)
def test_an_endless_name_is_refused(tmp_path: Path, odd: tarfile.TarInfo) -> None:
    told = tarball_refusal(tmp_path, lzma.compress(tar_of(odd)))
    assert "names have at most 4096, in at most 256 directories" in told


def test_symbolic_links_may_not_fill_the_memory(tmp_path: Path) -> None:
    links = [member(f"greeting-1/{n}", tarfile.SYMTYPE, "x") for n in range(100)]
    told = tarball_refusal(tmp_path, lzma.compress(tar_of(*links)), Bounds(link_bytes=5000))
    assert "the names of its symbolic links take more than 5000 bytes" in told


def test_damaged_and_padded_tarballs_are_refused(tmp_path: Path) -> None:
    whole = tar_of(member("greeting-1/a"))
    assert "ends too early" in tarball_refusal(tmp_path, lzma.compress(whole)[:-20])
    assert "does not decompress as xz" in tarball_refusal(tmp_path, b"not xz at all, but text")
    assert "not a tarball" in tarball_refusal(tmp_path, lzma.compress(b"text" * 1000))
    hidden = whole + tar_of(member("../x"))
    assert "bytes follow its end" in tarball_refusal(tmp_path, lzma.compress(hidden))


def test_streams_that_follow_each_other_are_one_file(tmp_path: Path) -> None:
    whole = tar_of(member("greeting-1/a"), member("../x"))
    data = lzma.compress(whole[:700]) + b"\0\0\0\0" + lzma.compress(whole[700:])
    assert "leaves its directory" in tarball_refusal(tmp_path, data)


@pytest.mark.parametrize("compression", ["gz", "bz2", "lzma"])
def test_every_compression_of_dpkg_source_is_read(tmp_path: Path, compression: str) -> None:
    def pack(data: bytes) -> bytes:
        if compression == "lzma":
            return lzma.compress(data, format=lzma.FORMAT_ALONE)
        return gzip.compress(data) if compression == "gz" else bz2.compress(data)

    name = f"greeting_1.tar.{compression}"
    text, files = with_tarball(tmp_path, name, pack(tar_of(member("greeting-1/a"))))
    check_files(read_dsc(text), files)
    text, files = with_tarball(tmp_path, name, pack(tar_of(member("../a"))))
    with pytest.raises(BadInputError, match="leaves its directory"):
        check_files(read_dsc(text), files)
