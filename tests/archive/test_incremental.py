"""A revision costs what it changes, and is right all the same: folders, indexes, the signer."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext

from commonfarm.archive import assembling, distributions, folders, index, ports, publishing
from commonfarm.archive import interface as archive
from commonfarm.archive.models import Entry, Publication, PublicationState, TreeFile
from commonfarm.archive.signer import approve
from commonfarm.estate.interface import Target
from commonfarm.lib.config import Config
from commonfarm.lib.errors import RefusedError
from commonfarm.store.interface import path_of, put_bytes
from tests.archive.world import World, make_deb
from tests.forked import run_script

DISTS = "demo/dists/bookworm"
PACKAGES = f"{DISTS}/main/binary-amd64/Packages"


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish as often as asked; only HTTP clients care for whole seconds."""
    monkeypatch.setattr(publishing, "_wait_for_another_second", lambda _publication: None)


@pytest.fixture
def counted(
    world: World, pool: Path, signer: Config, published_calls: list[tuple[str, int]]
) -> Iterator[Counted]:
    yield Counted(world, pool, signer)


class Counted:
    """Publishes one more package, named by its number, as often as it is asked."""

    def __init__(self, world: World, pool: Path, config: Config) -> None:
        self.world, self.pool, self.config, self.made = world, pool, config, 0

    def add(self, count: int = 1) -> None:
        for _ in range(count):
            self.made += 1
            deb = make_deb(self.pool, f"p{self.made:03d}", "1", "all")
            self.world.add(f"job:{self.made}", deb)

    def publish(self, count: int = 1) -> Publication:
        self.add(count)
        publishing.publish(self.world.tree)
        return Publication.objects.latest("revision")

    @property
    def seen(self) -> Path:
        return self.config.published / "main"

    def is_right(self) -> None:
        """What lies in the folder is what the tables say, byte for byte, and nothing else."""
        revision = archive.current_revision(self.world.tree)
        assert self.seen.readlink() == Path(f"main.r{revision}")
        expected = {file.path: file.blob_id for file in archive.current_files(self.world.tree)}
        assert contents(self.seen) == expected
        names = re.findall("^Package: (.*)$", (self.seen / PACKAGES).read_text(), re.MULTILINE)
        assert names == [f"p{number:03d}" for number in range(1, self.made + 1)]
        assert len([path for path in expected if path.endswith(".intoto.jsonl")]) == self.made


def contents(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder."""
    whole = folder.resolve()
    return {
        str(one.relative_to(whole)): hashlib.sha256(one.read_bytes()).hexdigest()
        for one in whole.rglob("*")
        if one.is_file()
    }


def folders_left(config: Config) -> set[str]:
    return {one.name for one in config.published.iterdir()}


def test_each_revision_is_right_and_takes_the_folder_of_a_past_one(counted: Counted) -> None:
    inodes = []
    for number in range(1, 15):
        counted.publish()
        counted.is_right()
        inodes.append(counted.seen.stat().st_ino)
        kept = {f"main.r{one}" for one in range(max(1, number - 2), number + 1)}
        assert folders_left(counted.config) == {"main"} | kept
    assert len(set(inodes)) == 3
    assert folders.prune(counted.world.tree) == []
    old = [path for path in contents(counted.seen) if "/by-hash/" in path]
    assert len(old) == 3 * (1 + counted.world.tree.keep_revisions)


def test_now_and_then_indexes_are_packed_anew(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assembling, "WHOLE_EVERY", 3)
    members = []
    for _ in range(4):
        counted.publish()
        counted.is_right()
        members.append((counted.seen / f"{PACKAGES}.gz").read_bytes().count(b"\x1f\x8b\x08"))
    assert members == [1, 2, 1, 2]


def test_a_past_folder_that_was_changed_is_put_right(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publishing, "WHOLE_EVERY", 4)
    asked: list[str] = []
    monkeypatch.setattr(publishing, "defer_once", lambda _task, key, **_: asked.append(key))
    for _ in range(4):
        counted.publish()
    assert asked.count(f"mend-{counted.world.tree.pk}") == 1
    past = counted.config.published / "main.r3"
    assert folders.mend(counted.world.tree) == []
    first, second, *_ = sorted(str(one.relative_to(past)) for one in past.rglob("*.deb"))
    (past / first).unlink()
    (past / second).unlink()
    (past / second).write_bytes(b"evil")
    (past / "odd").mkdir()
    (past / "odd/link").symlink_to("/etc")
    assert folders.mend(counted.world.tree) == sorted([first, second, "odd/link"])
    assert folders.mend(counted.world.tree) == []
    for _ in range(2):
        counted.publish()
    counted.is_right()
    assert not (counted.seen / "odd").exists()


def test_no_revision_is_made_of_a_folder_whose_removal_was_cut_short(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        counted.publish()
    rmtree = shutil.rmtree

    def killed(folder: Path) -> None:
        rmtree(folder / "demo/pool")
        raise SystemExit

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(shutil, "rmtree", killed)
        folders.prune(counted.world.tree, keep=0)
    counted.publish()
    counted.is_right()
    assert folders_left(counted.config) == {"main", "main.r4", "main.r3", "main.r2"}


def cost(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, int]:
    """Return queries, rows and links that publishing one more package takes."""
    links: list[Path] = []
    rows: list[type] = []
    real_put, real_row = folders._put, Model.from_db.__func__  # type: ignore[attr-defined]

    def put(source: Path, target: Path) -> None:
        links.append(target)
        real_put(source, target)

    def from_db(model: type, *values: object) -> object:
        rows.append(model)
        return real_row(model, *values)

    counted.add()
    with CaptureQueriesContext(connection) as queries, monkeypatch.context() as patched:
        patched.setattr(folders, "_put", put)
        patched.setattr(Model, "from_db", classmethod(from_db))
        publishing.publish(counted.world.tree)
    counted.is_right()
    return len(queries), len(rows), len(links)


def test_one_more_costs_the_same_in_a_larger_repository(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(13):  # until old indexes come and go at the same pace
        counted.publish()
    small = cost(counted, monkeypatch)
    counted.publish(count=40)
    for _ in range(3):
        counted.publish()
    assert cost(counted, monkeypatch) == small


KILLED = """
import os, signal, sys
import django
django.setup()
from commonfarm.archive import folders, ports, publishing
from commonfarm.estate.interface import ReleaseTree
ports.tree_published.fill(lambda tree, revision: None)
where, after = sys.argv[1].split(":")
left = int(after)
def then_die(real):
    def one_more(*arguments, **named):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)
    return one_more
if where == "rename":
    folders.Path.rename = then_die(folders.Path.rename)
else:
    setattr(folders, where, then_die(getattr(folders, where)))
publishing.publish(ReleaseTree.objects.get())
"""


@pytest.mark.parametrize(
    "where",
    ["rename:0", "rename:1", "_put:0", "_put:2", "_put:6", "sync_folder:0", "sync_folder:3"],
)
def test_killed_while_a_folder_is_brought_forward(counted: Counted, where: str) -> None:
    for _ in range(4):
        counted.publish()
    before = contents(counted.seen)
    counted.add()
    code, said = run_script(KILLED, where, config=counted.config.file)
    assert code == -signal.SIGKILL, said
    assert Publication.objects.latest("revision").state == PublicationState.SIGNED
    assert counted.seen.readlink() == Path("main.r4")
    assert contents(counted.seen) == before
    publishing.publish(counted.world.tree)
    counted.is_right()
    counted.publish()
    counted.is_right()
    assert not [name for name in folders_left(counted.config) if name.startswith(".")]


def test_a_folder_that_kept_its_old_name_in_a_crash_becomes_right(counted: Counted) -> None:
    """Power is lost after files were brought, and the journal forgets the folder's new name."""
    for _ in range(4):
        counted.publish()
    (past, *_) = folders._past(counted.world.tree, 4)
    folders._bring_forward(past, counted.world.tree, int(past.name[-1]), 4)
    for _ in range(2):
        counted.publish()
        counted.is_right()


def test_who_opens_the_tree_is_in_one_revision(counted: Counted) -> None:
    counted.publish()
    stop, mixed, looks = threading.Event(), [], set()

    def look() -> None:
        while not stop.is_set():
            tree = os.open(counted.seen, os.O_RDONLY)
            try:
                release = read_at(tree, f"{DISTS}/InRelease").decode()
                packages = read_at(tree, PACKAGES)
                debs = re.findall("^Filename: (.*)$", packages.decode(), re.MULTILINE)
                looks.add(len(debs))
                if hashlib.sha256(packages).hexdigest() not in release:
                    mixed.append(release)
                for deb in debs:
                    os.stat(f"demo/{deb}", dir_fd=tree)
            except OSError as error:
                mixed.append(str(error))
            finally:
                os.close(tree)

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for _ in range(8):
            counted.publish()
    finally:
        stop.set()
        reader.join()
    assert mixed == []
    assert len(looks) > 3


def read_at(folder: int, path: str) -> bytes:
    with os.fdopen(os.open(path, os.O_RDONLY, dir_fd=folder), "rb") as opened:
        return opened.read()


def test_after_a_refused_revision_everything_is_there_again(counted: Counted) -> None:
    counted.publish()
    evil = put_bytes(b"Package: evil\n\n")
    TreeFile.objects.filter(path=PACKAGES).update(blob=evil)
    assert counted.publish().state == PublicationState.FAILED
    assert "evil" not in (counted.seen / PACKAGES).read_text()
    assert counted.publish().state == PublicationState.PUBLISHED
    counted.is_right()


def test_a_damaged_index_is_not_built_upon(counted: Counted) -> None:
    counted.publish()
    path_of(TreeFile.objects.get(path=f"{PACKAGES}.gz").sha256).write_bytes(b"\0")
    publication = counted.publish()
    assert publication.state == PublicationState.PUBLISHED, publication.problem
    text = (counted.seen / PACKAGES).read_bytes()
    assert gzip.decompress((counted.seen / f"{PACKAGES}.gz").read_bytes()) == text
    assert text.count(b"Package: ") == 2


def test_a_new_architecture_lists_what_there_was_before(counted: Counted) -> None:
    counted.publish(count=2)
    other = Target.objects.create(
        name="other", declared_suite="bookworm", suite="bookworm", architecture="arm64"
    )
    counted.world.project.targets.add(other)
    counted.publish()
    counted.is_right()
    arm = (counted.seen / PACKAGES.replace("amd64", "arm64")).read_bytes()
    assert arm == (counted.seen / PACKAGES).read_bytes()


@pytest.fixture
def checks(counted: Counted, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Three revisions that this process checked as the signer does; from where it did."""
    monkeypatch.setattr(ports.vouch, "_filled_by", lambda _claims: {})
    monkeypatch.setattr(approve, "_checked", {})
    real, since = approve._releases, []

    def releases(publication: Publication, since_: int) -> list[tuple[str, bytes]]:
        since.append(since_)
        return real(publication, since_)

    monkeypatch.setattr(approve, "_releases", lambda one, since: releases(one, since))
    for _ in range(3):
        counted.add()
        publication = Publication.objects.latest("revision")
        publishing.advance(publication)
        approve.releases(publication.pk)
        publishing.publish(counted.world.tree)
    yield since


def test_the_signer_checks_only_what_is_new(counted: Counted, checks: list[int]) -> None:
    assert checks == [0, 1, 2]
    counted.is_right()


@pytest.mark.parametrize(
    "what", ["old part", "new part", "shorter", "withdrawn", "packed.gz", "packed.zst"]
)
def test_what_was_checked_before_hides_nothing(
    counted: Counted, checks: list[int], what: str
) -> None:
    counted.add()
    publication = Publication.objects.latest("revision")
    publishing.advance(publication)
    row = TreeFile.objects.get(path=PACKAGES, until_revision=None)
    text = path_of(row.sha256).read_bytes()
    changed = {
        "old part": text.replace(b"p001", b"evil", 1),
        "new part": text.replace(b"Package: p004", b"Package: evil"),
        "shorter": text[: text.index(b"Package: p004")],
    }.get(what, text)
    listed = []
    for suffix in ("", *index.PACKINGS):
        path, content = PACKAGES + suffix, changed
        if suffix:
            evil = b"Package: evil\n\n" if what == f"packed{suffix}" else b""
            content = index.extend(suffix, b"", b"", changed + evil)
        blob = put_bytes(content)
        TreeFile.objects.filter(path=path, until_revision=None).update(blob=blob)
        listed.append(index.File(path.removeprefix(f"{DISTS}/"), blob.size, blob.sha256))
    publication.refresh_from_db()
    (distribution,) = distributions.of(publication)
    TreeFile.objects.filter(path=f"{DISTS}/Release", until_revision=None).update(
        blob=put_bytes(distribution.release(publication, listed))
    )
    if what == "withdrawn":
        Entry.objects.get(artifact__package="p002").delete()
    with pytest.raises(RefusedError, match="not what the database says"):
        approve.releases(publication.pk)
    assert checks[-2:] == [3, 0]
