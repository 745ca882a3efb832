"""Bytes in the store are what their hash says, survive faults, and are told to nobody else."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pytest_django.fixtures import Settings

from commonfarm.lib.errors import NotFoundError
from commonfarm.store import blobs, disk, uploads
from commonfarm.store import interface as store
from commonfarm.store.models import Upload

pytestmark = pytest.mark.django_db


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def in_incoming() -> list[str]:
    return sorted(file.name for file in disk.incoming_folder().iterdir())


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, settings: Settings) -> Path:
    settings.COMMONFARM = replace(settings.COMMONFARM, store=tmp_path / "store")
    (tmp_path / "store").mkdir(mode=0o2770)
    return tmp_path / "store"


def test_what_is_put_is_read_back_under_its_hash(tmp_path: Path) -> None:
    blob = store.put_bytes(b"hello")
    assert (blob.sha256, blob.size) == (sha(b"hello"), 5)
    assert store.read(blob.sha256) == b"hello"
    (tmp_path / "f").write_bytes(b"hello")
    inode = store.path_of(blob.sha256).stat().st_ino
    assert store.put_file(tmp_path / "f") == blob
    assert store.path_of(blob.sha256).stat().st_ino == inode
    assert in_incoming() == []


def test_files_can_be_linked_by_the_group_and_folders_entered_by_it() -> None:
    old = os.umask(0o077)
    try:
        path = store.path_of(store.put_bytes(b"x").sha256)
    finally:
        os.umask(old)
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o2770
    assert stat.S_IMODE(path.parent.parent.stat().st_mode) == 0o2770


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "ab"])
def test_what_is_no_hash_is_not_found(name: str) -> None:
    with pytest.raises(NotFoundError):
        store.path_of(name)


def test_check_finds_damage() -> None:
    blob = store.put_bytes(b"whole")
    assert store.check(blob.sha256) == blob
    path = store.path_of(blob.sha256)
    path.write_bytes(b"whale")
    with pytest.raises(store.BlobDamagedError, match="SHA-256 is"):
        store.check(blob.sha256)
    store.put_bytes(b"whole")
    assert store.check(blob.sha256) == blob
    path.write_bytes(b"who")
    with pytest.raises(store.BlobDamagedError, match="3 bytes instead of 5"):
        store.check(blob.sha256)
    store.put_bytes(b"whole")
    assert store.check(blob.sha256) == blob
    path.unlink()
    with pytest.raises(store.BlobDamagedError, match="missing"):
        store.check(blob.sha256)


@hypothesis_settings(max_examples=30, deadline=None)
@given(data=st.data(), content=st.binary(max_size=200))
def test_any_order_of_chunks_ends_in_the_same_blob(data: st.DataObject, content: bytes) -> None:
    with transaction.atomic():
        received = store.start_upload("lease:1", sha(content), len(content))
        while received < len(content):
            start = data.draw(st.integers(0, len(content)))
            end = data.draw(st.integers(max(start, received + 1), len(content)))
            if start > received:
                with pytest.raises(store.GapError) as gap:
                    store.add_chunk("lease:1", sha(content), start, content[start:end])
                assert gap.value.received == received
                start = received
            received = store.add_chunk("lease:1", sha(content), start, content[start:end])
            assert received >= end
        assert store.read(store.finished_upload("lease:1", sha(content)).sha256) == content
        transaction.set_rollback(True)


def test_an_upload_mends_a_damaged_blob() -> None:
    blob = store.put_bytes(b"abcdef")
    store.path_of(blob.sha256).write_bytes(b"abcdeX")
    store.start_upload("lease:1", blob.sha256, 6)
    store.add_chunk("lease:1", blob.sha256, 0, b"abcdef")
    assert store.check(blob.sha256) == blob


def test_an_upload_resumes_where_it_was_and_is_finished_once() -> None:
    assert store.start_upload("lease:1", sha(b"abcdef"), 6) == 0
    assert store.add_chunk("lease:1", sha(b"abcdef"), 0, b"abc") == 3
    assert store.start_upload("lease:1", sha(b"abcdef"), 6) == 3
    with pytest.raises(NotFoundError):
        store.finished_upload("lease:1", sha(b"abcdef"))
    assert store.add_chunk("lease:1", sha(b"abcdef"), 3, b"def") == 6
    assert store.add_chunk("lease:1", sha(b"abcdef"), 3, b"def") == 6
    assert store.start_upload("lease:1", sha(b"abcdef"), 6) == 6


@pytest.mark.django_db(transaction=True)
def test_killed_after_the_last_byte_the_upload_is_finished_by_resuming(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store.start_upload("lease:1", sha(b"abcdef"), 6)
    monkeypatch.setattr(blobs, "row_for", lambda *_: (_ for _ in ()).throw(SystemExit))
    with pytest.raises(SystemExit):
        store.add_chunk("lease:1", sha(b"abcdef"), 0, b"abcdef")
    monkeypatch.undo()
    assert not Upload.objects.get().finished_at
    assert store.start_upload("lease:1", sha(b"abcdef"), 6) == 6
    assert store.check(store.finished_upload("lease:1", sha(b"abcdef")).sha256)
    assert in_incoming() == []


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("content", [b"abcdeX", b"abcdefg"])
def test_a_file_that_lies_is_refused_and_dropped(content: bytes) -> None:
    store.start_upload("lease:1", sha(b"abcdef"), 6)
    store.add_chunk("lease:1", sha(b"abcdef"), 0, content[:3])
    with pytest.raises(store.UploadLiesError):
        store.add_chunk("lease:1", sha(b"abcdef"), 3, content[3:])
    assert not Upload.objects.exists()
    assert in_incoming() == []
    with pytest.raises(NotFoundError):
        store.path_of(sha(b"abcdef"))


@pytest.mark.django_db(transaction=True)
def test_an_empty_file_is_verified_too() -> None:
    assert store.start_upload("lease:1", sha(b""), 0) == 0
    assert store.finished_upload("lease:1", sha(b"")).size == 0
    with pytest.raises(store.UploadLiesError):
        store.start_upload("lease:1", sha(b"abc"), 0)


@pytest.mark.parametrize(("digest", "size"), [("nonsense", 5), (sha(b"a"), -1), (sha(b"a"), 2**63)])
def test_impossible_claims_are_refused_at_once(digest: str, size: int) -> None:
    with pytest.raises(store.UploadLiesError):
        store.start_upload("lease:1", digest, size)


def test_a_stranger_learns_nothing_of_what_is_stored() -> None:
    blob = store.put_bytes(b"secret")
    assert store.start_upload("lease:2", blob.sha256, 6) == 0
    with pytest.raises(NotFoundError):
        store.finished_upload("lease:2", blob.sha256)
    with pytest.raises(NotFoundError):
        store.add_chunk("lease:3", blob.sha256, 0, b"secret")
    assert store.add_chunk("lease:2", blob.sha256, 0, b"sec") == 3
    assert store.add_chunk("lease:2", blob.sha256, 3, b"ret") == 6


def test_abandoned_uploads_are_dropped_after_a_week() -> None:
    store.start_upload("lease:1", sha(b"abcdef"), 6)
    store.add_chunk("lease:1", sha(b"abcdef"), 0, b"abc")
    (disk.incoming_folder() / "put-torn").write_bytes(b"x")
    assert uploads.drop_abandoned(timezone.now() + timedelta(days=6)) == 0
    assert uploads.drop_abandoned(timezone.now() + timedelta(days=8)) == 2
    assert in_incoming() == []


@pytest.fixture
def tiny_disk(own_store: Path) -> Iterator[Path]:
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k,mode=2770", "tmpfs", own_store], check=True
    )
    try:
        yield own_store
    finally:
        subprocess.run(["umount", "-l", own_store], check=True)


@pytest.mark.root
@pytest.mark.django_db(transaction=True)
def test_a_full_disk_is_said_and_nothing_is_lost(tiny_disk: Path) -> None:
    content = os.urandom(100_000)
    kept = store.put_bytes(b"kept")
    store.start_upload("lease:1", sha(content), len(content))
    store.add_chunk("lease:1", sha(content), 0, content[:40_000])
    filler = tiny_disk / "filler"
    with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as out:
        while True:
            out.write(bytes(4096))
    for _ in range(2):
        with pytest.raises(store.StoreFullError) as full:
            store.add_chunk("lease:1", sha(content), 40_000, content[40_000:])
        assert full.value.status == 507
    with pytest.raises(store.StoreFullError):
        store.put_bytes(content)
    with pytest.raises(store.StoreFullError):
        store.start_upload("lease:2", sha(content), len(content))
    assert store.check(kept.sha256) == kept
    filler.unlink()
    assert store.start_upload("lease:1", sha(content), len(content)) == 40_000
    assert store.add_chunk("lease:1", sha(content), 40_000, content[40_000:]) == 100_000
    assert store.check(store.finished_upload("lease:1", sha(content)).sha256)
    assert [name for name in in_incoming() if name.startswith("put-")] == []
