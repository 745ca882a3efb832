"""Further hashes of files: pieces, one read, damage."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.archive import hashing
from commonfarm.archive.models import FileHashes
from commonfarm.archive.releases import lifecycle
from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.config import Config
from commonfarm.lib.errors import NotFoundError
from commonfarm.store.interface import BlobDamagedError, path_of, put_all


@given(st.integers(0, 2**50))
def test_pieces_are_powers_of_two_and_few(size: int) -> None:
    piece = hashing.piece_bytes_of(size)
    if size <= hashing.WHOLE_BYTES:
        assert piece == 0
        return
    assert piece >= hashing.LEAST_PIECE_BYTES and piece & (piece - 1) == 0
    assert -(-size // piece) <= hashing.MOST_PIECES
    assert piece == hashing.LEAST_PIECE_BYTES or -(-size // (piece // 2)) > hashing.MOST_PIECES


@pytest.mark.parametrize(
    "size", [0, 1, hashing.WHOLE_BYTES, hashing.WHOLE_BYTES + 1, 5 * 2**20, 5 * 2**20 + 1]
)
def test_the_hashes_are_those_of_the_bytes(tmp_path: Path, size: int) -> None:
    data = (hashlib.sha256(str(size).encode()).digest() * (size // 32 + 1))[:size]
    file = tmp_path / "f"
    file.write_bytes(data)
    found = hashing.hash_file(file)
    assert (found.size, found.sha256) == (size, hashlib.sha256(data).hexdigest())
    assert found.sha1 == hashlib.sha1(data).digest()
    assert found.md5 == hashlib.md5(data).digest()
    step = found.piece_bytes or size or 1
    pieces = [hashlib.sha256(data[at : at + step]).digest() for at in range(0, size, step)]
    assert found.pieces == (b"".join(pieces) if found.piece_bytes else b"")


@pytest.mark.django_db
def test_each_content_is_read_once(installation: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "BATCH", 3)
    blobs = [one.sha256 for one in put_all([b"%d" % number for number in range(8)])]
    assert hashing.hash_blobs([*blobs, *blobs]) == 8
    assert hashing.hash_blobs(blobs) == 0
    assert FileHashes.objects.get(pk=blobs[3]).md5 == hashlib.md5(b"3").digest()


@pytest.mark.django_db
def test_what_is_damaged_or_missing_gets_no_hashes(installation: Config) -> None:
    good, changed, gone = (one.sha256 for one in put_all([b"a", b"b", b"c"]))
    path_of(changed).write_bytes(b"x")
    path_of(gone).unlink()
    for sha256, says in ((changed, "its SHA-256 is"), (gone, "is missing")):
        with pytest.raises(BlobDamagedError, match=says):
            hashing.hash_blobs([good, sha256])
    with pytest.raises(NotFoundError, match="nothing is stored"):
        hashing.hash_blobs(["0" * 64])
    assert not FileHashes.objects.filter(pk__in=[changed, gone]).exists()
    hashing.hash_blobs([changed, gone, "0" * 64, good], pass_damaged=True)
    assert list(FileHashes.objects.values_list("pk", flat=True)) == [good]


@pytest.mark.django_db
def test_a_release_is_hashed_once_it_is_closed(installation: Config) -> None:
    tree = ReleaseTree.objects.create(name="files")
    release = lifecycle.open_release(tree, title="t", who="user:anna")
    long, short = put_all([bytes(5 * 2**20), b"short"])
    lifecycle.add_files(release, [("a", long.sha256), ("b", short.sha256)], owner=None)
    lifecycle.close(release, who="user:anna", now=timezone.now())
    job = ProcrastinateJob.objects.get(task_name=hashing.hash_release.name)
    hashing.hash_release(**job.args)
    assert len(FileHashes.objects.get(pk=long.sha256).pieces) == 20 * 32
    assert FileHashes.objects.filter(pk=short.sha256).exists()
