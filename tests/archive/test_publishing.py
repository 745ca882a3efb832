"""Publishing: the steps, what users see, kills between the steps, and the signer's refusals."""

from __future__ import annotations

import gzip
import os
import signal
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from commonfarm.archive import assembling, folders, publishing, renewal, signing
from commonfarm.archive import interface as archive
from commonfarm.archive.models import Artifact, Publication, TreeFile
from commonfarm.lib.config import Config
from commonfarm.lib.errors import RefusedError, UnreachableError
from commonfarm.store.interface import path_of, put_bytes
from tests.archive.world import World, make_deb
from tests.forked import run_script

PACKAGES = "demo/dists/bookworm/main/binary-amd64/Packages"


def verified_release(config: Config) -> str:
    """Return the text of the published InRelease, as gpgv believes it."""
    return subprocess.run(
        [
            "gpgv",
            "--keyring",
            config.public_keys / "archive.gpg",
            "--output",
            "-",
            config.published / "main/demo/dists/bookworm/InRelease",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def test_a_package_is_published(
    world: World, pool: Path, signer: Config, published_calls: list[tuple[str, int]]
) -> None:
    deb = make_deb(pool, "hello", "1", "amd64")
    world.add("job:1", deb)
    publishing.publish(world.tree)
    publication = Publication.objects.get()
    assert (publication.state, publication.problem) == ("published", "")
    assert published_calls == [("main", 1)]
    tree = signer.published / "main"
    assert tree.readlink() == Path("main.r1")
    path = "demo/pool/bookworm/main/h/hello/hello_1_amd64.deb"
    assert (tree / path).read_bytes() == deb.read_bytes()
    assert (tree / path).stat().st_nlink > 1
    text = (tree / PACKAGES).read_bytes()
    assert gzip.decompress((tree / f"{PACKAGES}.gz").read_bytes()) == text
    release = verified_release(signer)
    assert release == (tree / "demo/dists/bookworm/Release").read_text()
    assert "Acquire-By-Hash: yes" in release
    for line in release.split("SHA256:\n")[1].splitlines():
        sha256, size, name = line.split()
        listed = (tree / "demo/dists/bookworm" / name).read_bytes()
        assert len(listed) == int(size)
        hashed = tree / "demo/dists/bookworm" / Path(name).parent / "by-hash/SHA256" / sha256
        assert hashed.read_bytes() == listed
    found = {file.path for file in archive.current_files(world.tree)}
    on_disk = {
        str(one.relative_to(tree.resolve())) for one in tree.resolve().rglob("*") if one.is_file()
    }
    assert found == on_disk
    assert f"{path}.intoto.jsonl" in found


def test_the_next_revision_keeps_what_was_and_old_indexes_by_hash(
    world: World, pool: Path, signer: Config, published_calls: list[tuple[str, int]]
) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    publishing.publish(world.tree)
    old = {file.path for file in archive.current_files(world.tree) if "by-hash" in file.path}
    held = os.open(signer.published / "main", os.O_RDONLY)
    world.add("job:2", make_deb(pool, "bye", "1", "all"))
    publishing.publish(world.tree)
    assert archive.current_revision(world.tree) == 2
    new = {file.path for file in archive.current_files(world.tree)}
    assert old < new
    text = (signer.published / "main" / PACKAGES).read_text()
    assert text.count("Package: ") == 2
    packed = TreeFile.objects.filter(path=f"{PACKAGES}.gz").order_by("since_revision")
    assert path_of(packed[1].sha256).read_bytes().startswith(path_of(packed[0].sha256).read_bytes())
    assert os.stat(PACKAGES, dir_fd=held).st_size < len(text)
    os.close(held)
    assert folders.prune(world.tree) == []
    assert (signer.published / "main" / PACKAGES).read_text() == text


def test_only_real_folders_are_taken_for_past_revisions(
    world: World, installation: Config, pool: Path
) -> None:
    published = installation.published
    for revision in range(2, 6):
        (published / f"main.r{revision}").mkdir()
    (published / "main.r1").symlink_to(pool)
    (published / "main").symlink_to("main.r5")
    assert folders.prune(world.tree) == ["main.r2"]
    assert (published / "main.r1").is_symlink()


STEPS = ["assemble", "sign", "switch"]
KILLED = """
import os, signal, sys
import django
django.setup()
from commonfarm.archive import folders, manifest_rows, ports, publishing, signing
from commonfarm.archive.models import Publication
from commonfarm.estate.interface import ReleaseTree
ports.tree_published.fill(lambda tree, revision: None)
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
where = sys.argv[1]
if where.startswith("after-"):
    after = int(where[-1])
    real, done = publishing.advance, []
    def advance(publication):
        real(publication)
        done.append(1)
        if len(done) == after:
            die()
    publishing.advance = advance
elif where == "before-reached":
    Publication.reached = die
elif where == "statement":
    signing.put_all = die
elif where == "signature":
    real_put = publishing.put_files
    def put_files(publication, wanted, **complete):
        real_put(publication, wanted, **complete)
        complete or die()
    publishing.put_files = put_files
elif where == "manifest":
    manifest_rows.place = die
elif where == "half-folder":
    folders.subprocess.run = die
elif where == "before-link":
    real_rename = folders.Path.replace
    folders.Path.replace = lambda self, to: die() if ".link" in self.name else real_rename(self, to)
elif where == "before-told":
    ports.tree_published.fill(die)
publishing.publish(ReleaseTree.objects.get())
"""


@pytest.mark.parametrize(
    "where",
    [
        "after-1",
        "after-2",
        "after-3",
        "before-reached",
        "statement",
        "signature",
        "manifest",
        "half-folder",
        "before-link",
        "before-told",
    ],
)
def test_killed_anywhere_the_next_worker_goes_on(
    world: World, pool: Path, signer: Config, published_calls: list[tuple[str, int]], where: str
) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    publishing.publish(world.tree)
    world.add("job:2", make_deb(pool, "bye", "1", "all"))
    code, said = run_script(KILLED, where, config=signer.file)
    assert code == -signal.SIGKILL, said
    seen = (signer.published / "main" / PACKAGES).read_text().count("Package: ")
    assert seen == (2 if where in ("after-3", "before-told") else 1)
    publishing.publish(world.tree)
    assert [one.state for one in Publication.objects.all()] == ["published", "published"]
    assert (signer.published / "main" / PACKAGES).read_text().count("Package: ") == 2
    assert verified_release(signer)
    assert not [one for one in signer.published.iterdir() if one.name.startswith(".")]
    assert not Artifact.objects.filter(provenance=None).exists()


def test_without_a_signer_a_publication_waits_and_says_so(
    world: World, pool: Path, published_calls: list[tuple[str, int]]
) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    publishing.publish(world.tree)
    publication = Publication.objects.get()
    assert publication.state == "assembled"
    assert "the signer does not answer" in publication.problem
    with pytest.raises(UnreachableError):
        signing.sign_publication(publication.pk)


def test_a_full_disk_of_the_database_is_waited_for(
    world: World, pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*_: object) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DO $$ BEGIN RAISE disk_full; END $$")

    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    with monkeypatch.context() as full:
        full.setattr(assembling, "new_files", fill)
        publishing.publish(world.tree)
    publication = Publication.objects.get()
    said = "the disk of the database is full; free space there and go on"
    assert (publication.state, publication.problem) == ("pending", said)
    publishing.publish(world.tree)
    assert Publication.objects.get().state == "assembled"


def assembled(world: World, pool: Path) -> Publication:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    publishing.advance(Publication.objects.get())
    return Publication.objects.get()


def swap(path: str, data: bytes) -> None:
    assert TreeFile.objects.filter(path=path).update(blob=put_bytes(data)) == 1


def test_a_changed_index_is_not_signed(world: World, pool: Path, signer: Config) -> None:
    publication = assembled(world, pool)
    swap(PACKAGES, b"Package: evil\n\n")
    with pytest.raises(RefusedError, match="not what the database says"):
        signing.sign_publication(publication.pk)
    publishing.publish(world.tree)
    publication.refresh_from_db()
    assert publication.state == "failed"
    assert "not what the database says" in publication.problem
    assert not (signer.published / "main").exists()


def test_a_changed_compressed_index_is_not_signed(world: World, pool: Path, signer: Config) -> None:
    publication = assembled(world, pool)
    swap(f"{PACKAGES}.gz", gzip.compress(b"Package: evil\n\n"))
    with pytest.raises(RefusedError, match=r"Packages\.gz is not what"):
        signing.sign_publication(publication.pk)


def test_a_changed_release_or_package_is_not_signed(
    world: World, pool: Path, signer: Config
) -> None:
    publication = assembled(world, pool)
    release = TreeFile.objects.get(path="demo/dists/bookworm/Release")
    whole = release.blob
    assert whole is not None
    swap(release.path, path_of(whole.sha256).read_bytes().replace(b"Valid-Until", b"Xalid-Until"))
    with pytest.raises(RefusedError, match="Release is not what"):
        signing.sign_publication(publication.pk)
    TreeFile.objects.filter(pk=release.pk).update(blob=whole)
    swap("demo/pool/bookworm/main/h/hello/hello_1_amd64.deb", b"other")
    with pytest.raises(RefusedError, match="not the artifact that was entered"):
        signing.sign_publication(publication.pk)


def test_a_damaged_index_is_not_signed(world: World, pool: Path, signer: Config) -> None:
    publication = assembled(world, pool)
    path_of(TreeFile.objects.get(path=PACKAGES).sha256).write_bytes(b"Package: evil\n\n")
    with pytest.raises(RefusedError, match="damaged"):
        signing.sign_publication(publication.pk)


def test_what_no_job_vouches_for_is_not_signed(world: World, pool: Path, signer: Config) -> None:
    publication = assembled(world, pool)
    (signer.state / "disowned").write_text("job:1")
    with pytest.raises(RefusedError, match="job:1: no lease brought it"):
        signing.sign_publication(publication.pk)
    with pytest.raises(RefusedError, match="job:1: no lease brought it"):
        signing.sign_statements([Artifact.objects.get().pk])


def test_only_what_is_assembled_is_signed(
    world: World, pool: Path, signer: Config, published_calls: list[tuple[str, int]]
) -> None:
    publication = assembled(world, pool)
    publishing.publish(world.tree)
    for number in (publication.pk, publication.pk + 100):
        with pytest.raises(RefusedError):
            signing.sign_publication(number)


def test_indexes_are_signed_anew_before_they_end(
    world: World, pool: Path, signer: Config, published_calls: list[tuple[str, int]]
) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    publishing.publish(world.tree)
    now = timezone.now()
    assert renewal.renew(now + timedelta(days=3)) == renewal.renew(now) == 0
    assert renewal.renew(now + timedelta(days=4)) == 1
    assert renewal.renew(now + timedelta(days=4)) == 0
    publishing.publish(world.tree)
    assert archive.current_revision(world.tree) == 2
    assert verified_release(signer)
