"""The manifest of a real tree: what is signed is what the folder holds, revision by revision."""

from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from commonfarm.archive import (
    copies,
    manifest,
    manifest_rows,
    provenance,
    publishing,
    renewal,
    signing,
    verifying,
)
from commonfarm.archive import interface as archive
from commonfarm.archive.models import (
    FileHashes,
    Publication,
    PublicationState,
    Release,
    ReleaseState,
    TreeAlias,
    TreeFile,
)
from commonfarm.archive.releases import going_public, lifecycle
from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.config import Config
from commonfarm.lib.errors import RefusedError
from commonfarm.store.interface import Blob, path_of, put_bytes
from tests.archive.world import World, make_deb

STATEMENT = manifest.STATEMENT_PATH


@pytest.fixture(autouse=True)
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Publish as often as asked; only HTTP clients care for whole seconds."""
    monkeypatch.setattr(publishing, "_wait_for_another_second", lambda _publication: None)


@pytest.fixture
def tree(world: World, signer: Config, published_calls: list[tuple[str, int]]) -> ReleaseTree:
    """A tree of releases, without a repository."""
    return ReleaseTree.objects.create(name="files", review="none", keep_revisions=2)


def release(
    tree: ReleaseTree, files: dict[str, bytes], aliases: dict[str, str] | None = None
) -> Release:
    """Put a release and publish it; the tree is not yet."""
    one = lifecycle.open_release(tree, title="t", who="user:anna")
    listed = [(path, put_bytes(content).sha256) for path, content in files.items()]
    if listed:
        lifecycle.add_files(one, listed, owner=None)
    if aliases:
        lifecycle.add_aliases(one, list(aliases.items()))
    lifecycle.close(one, who="user:anna", now=timezone.now())
    one.refresh_from_db()
    going_public.publish(one, who="user:anna", now=timezone.now())
    return one


def publish(tree: ReleaseTree) -> Publication:
    publishing.publish(tree)
    newest = Publication.objects.filter(tree=tree).latest("revision")
    assert newest.state == PublicationState.PUBLISHED, newest.problem
    return newest


def verified(tree: ReleaseTree, config: Config, at_least: int = 0) -> verifying.Report:
    """Verify the published folder, which must be whole."""
    key = provenance.read_key((config.public_keys / "statements.pub").read_bytes())
    report = verifying.verify(
        lambda: copies.open_copy(str(config.published / tree.name)),
        key,
        verifying.Asked(None, at_least),
        now=datetime.now(UTC),
        choose=Random(1),
    )
    assert report.problems == []
    assert report.statement.revision == archive.current_revision(tree)
    return report


def said(publication: Publication) -> list[manifest.Entry]:
    """Return what the segment of a revision says."""
    assert publication.manifest is not None
    head, entries = manifest.read_segment(
        io.BytesIO(path_of(publication.manifest.sha256).read_bytes())
    )
    assert head.revision == publication.revision
    return list(entries)


def test_packages_are_listed_and_a_revision_says_what_it_changes(
    world: World, pool: Path, signer: Config, published_calls: list[tuple[str, int]]
) -> None:
    for number in range(4):
        world.add(f"job:{number}", make_deb(pool, f"p{number}", "1", "all"))
        publication = publish(world.tree)
        report = verified(world.tree, signer)
        assert report.others == []
        assert [one.revision for one in report.statement.segments] == list(range(1, number + 2))
        files = {one.path for one in said(publication) if isinstance(one, manifest.File)}
        assert len([path for path in files if path.endswith(".deb")]) == 1
        assert len([path for path in files if path.endswith(".intoto.jsonl")]) == 1
        assert "demo/dists/bookworm/InRelease" in files
    listed = {
        str(one.relative_to((signer.published / "main").resolve()))
        for one in (signer.published / "main").resolve().rglob("*")
        if one.is_file()
    }
    assert report.files == len([one for one in listed if not manifest.is_reserved(one)])
    statement = json.loads((signer.published / "main" / STATEMENT).read_text())
    assert statement["payloadType"] == manifest.PAYLOAD_TYPE
    assert TreeFile.objects.get(path=STATEMENT, until_revision=None).changes
    sha256s = set(archive.current_files(world.tree).values_list("sha256", flat=True))
    assert set(FileHashes.objects.values_list("pk", flat=True)) >= sha256s


def test_releases_aliases_and_what_is_gone(tree: ReleaseTree, signer: Config) -> None:
    long = bytes(5 * 2**20)
    one = release(tree, {"a/x": b"x", "a/long.iso": long}, {"latest": "a"})
    first = publish(tree)
    entries = said(first)
    file = next(one for one in entries if one.path == "a/long.iso")
    assert isinstance(file, manifest.File)
    assert (file.piece_bytes, len(file.pieces)) == (2**18, 20 * 32)
    assert file.not_before == first.assembled_at + timedelta(seconds=1800)  # type: ignore[operator]
    assert manifest.Alias("latest", "a") in entries
    assert verified(tree, signer).aliases == 1

    release(tree, {"b/y": b"y"}, {"latest": "b"})
    second = publish(tree)
    assert [one.path for one in said(second)] == ["b/y", "latest"]
    assert verified(tree, signer).files == 3

    one.refresh_from_db()
    going_public.withdraw(one, who="user:anna", why="a fault")
    third = publish(tree)
    assert said(third) == [manifest.Gone("a/long.iso"), manifest.Gone("a/x")]
    report = verified(tree, signer)
    assert (report.files, sorted(report.others)) == (1, ["a/long.iso", "a/x"])

    going_public.rollback(tree, 1, who="user:anna", why="it was none")
    fourth = publish(tree)
    report = verified(tree, signer)
    assert report.files == 2 and {"a/x", "a/long.iso"} <= {one.path for one in said(fourth)}


def test_segments_stay_few_and_their_files_a_while(
    tree: ReleaseTree, signer: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest_rows, "MOST_SEGMENTS", 3)
    named, kept = [], []
    for number in range(6):
        many = {f"many/{one}": b"%d" % one for one in range(0 if number else 50)}
        release(tree, {f"f{number}": b"f"} | many)
        publish(tree)
        report = verified(tree, signer)
        assert (report.files, report.others) == (51 + number, [])
        named.append([one.revision for one in report.statement.segments])
        lie_there = (signer.published / "files/manifest").iterdir()
        kept.append(sorted(int(one.name[:8]) for one in lie_there if one.name != "statement.json"))
    assert named == [[1], [1, 2], [1, 2, 3], [1, 4], [1, 4, 5], [1, 6]]
    # Those of the statement before stay for `keep_revisions` after the new one.
    assert kept == [[1], [1, 2], [1, 2, 3], [1, 2, 3, 4], [1, 2, 3, 4, 5], [1, 4, 5, 6]]


def test_what_a_segment_goes_behind() -> None:
    def left(*sizes: int) -> list[int]:
        segments = [manifest.Segment(at, size, "") for at, size in enumerate(sizes, 1)]
        return [one.size for one in manifest_rows.followed(segments)]

    few = [9] * (manifest_rows.MOST_SEGMENTS - 1)
    assert left() == []
    assert left(*few) == few
    assert left(10_000, *few) == [10_000]
    assert left(1100, *few) == []
    assert left(10**6, 2000, *few[1:]) == [10**6, 2000]


def test_after_a_failed_revision_the_manifest_goes_on_from_what_users_see(
    world: World, pool: Path, signer: Config, published_calls: list[tuple[str, int]]
) -> None:
    world.add("job:1", make_deb(pool, "p1", "1", "all"))
    publish(world.tree)
    world.add("job:2", make_deb(pool, "p2", "1", "all"))
    (signer.state / "disowned").write_text("job:2")
    publishing.publish(world.tree)
    assert Publication.objects.latest("revision").state == PublicationState.FAILED
    (signer.state / "disowned").unlink()
    world.add("job:3", make_deb(pool, "p3", "1", "all"))
    publish(world.tree)
    assert [one.revision for one in verified(world.tree, signer).statement.segments] == [1, 3]


def test_a_tree_from_before_manifests_begins_with_a_base(tree: ReleaseTree, signer: Config) -> None:
    release(tree, {"a": b"a"})
    first = publish(tree)
    Publication.objects.filter(pk=first.pk).update(manifest=None, statement=None)
    TreeFile.objects.filter(path__startswith="manifest/").update(until_revision=2)
    release(tree, {"b": b"b"})
    publish(tree)
    report = verified(tree, signer)
    assert (report.files, [one.revision for one in report.statement.segments]) == (2, [2])


def test_statements_are_renewed_before_they_end(tree: ReleaseTree, signer: Config) -> None:
    release(tree, {"a": b"a"})
    publish(tree)
    now = timezone.now()
    assert renewal.renew(now + timedelta(seconds=tree.valid_seconds // 2 - 60)) == 0
    assert renewal.renew(now + timedelta(seconds=tree.valid_seconds // 2 + 60)) == 1
    second = publish(tree)
    assert (second.revision, said(second)) == (2, [])
    verified(tree, signer, at_least=2)


LIVES = st.lists(
    st.dictionaries(st.sampled_from("abcd"), st.sampled_from(["put", "alias", "end", "leave"])),
    min_size=2,
    max_size=6,
)


@pytest.mark.django_db
@given(LIVES)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_base_and_what_changed_since_are_the_next_base(steps: list[dict[str, str]]) -> None:
    """Whatever happens to files and aliases from revision to revision."""
    with transaction.atomic():
        tree = ReleaseTree.objects.create(name="any")
        blobs = [Blob.objects.create(sha256=f"{number:064}", size=number) for number in range(7)]
        files: dict[str, TreeFile] = {}
        aliases: dict[str, TreeAlias] = {}
        for revision, step in enumerate(steps, 1):
            for path, what in step.items():
                if what == "leave":
                    if path in files and files[path].leaving_revision is None:
                        files[path].leaving_revision = revision
                        files[path].save()
                    continue
                for rows in (files, aliases):
                    if path in rows:
                        row = rows.pop(path)
                        row.until_revision = revision
                        row.save()
                about = {"tree": tree, "path": path, "since_revision": revision}
                if what == "put":
                    blob = blobs[revision]
                    files[path] = TreeFile.objects.create(
                        blob=blob, sha256=blob.sha256, size=blob.size, **about
                    )
                elif what == "alias":
                    aliases[path] = TreeAlias.objects.create(target=f"t{revision}", **about)
        told = [applied(tree, 0, revision, {}) for revision in range(1, len(steps) + 1)]
        told.insert(0, {})
        for revision in range(1, len(steps) + 1):
            for since in range(1, revision):
                assert applied(tree, since, revision, told[since]) == told[revision]
        transaction.set_rollback(True)


def applied(
    tree: ReleaseTree, since: int, revision: int, told: dict[str, manifest.Entry]
) -> dict[str, manifest.Entry]:
    """Return what is told once the segment from `since` to `revision` has been read."""
    lines = manifest_rows.lines(Publication(tree=tree, revision=revision), since)
    _, entries = manifest.read_segment(io.BytesIO(manifest.pack(lines)))
    listed = dict(told)
    for entry in entries:
        listed.pop(entry.path, None)
        if not isinstance(entry, manifest.Gone):
            listed[entry.path] = entry
    return listed


def signed(tree: ReleaseTree) -> Publication:
    """Bring the next revision to where only its manifest is to be signed."""
    while True:
        publication = Publication.objects.filter(tree=tree).latest("revision")
        if publication.state == PublicationState.SIGNED:
            return publication
        publishing.advance(publication)


def refuses(publication: Publication, code: str) -> None:
    with pytest.raises(RefusedError) as refused:
        signing.sign_manifest(publication.pk)
    assert refused.value.reason.code == code, refused.value


@pytest.fixture
def second(tree: ReleaseTree, signer: Config) -> Publication:
    """A second revision of which only the manifest is to be signed."""
    release(tree, {"a": b"a"})
    publish(tree)
    release(tree, {"b": b"b"}, {"latest": "b"})
    return signed(tree)


def test_the_signer_refuses(tree: ReleaseTree, second: Publication, signer: Config) -> None:
    """One after the other, as making a tree for each takes long; each is put right again."""
    a_segment_that_is_not_what_the_database_says(second)
    files_and_aliases_from_nowhere(tree, second)
    what_nobody_looked_at(tree, second)
    other_statements_to_build_upon(tree, second)
    refuses(Publication.objects.get(tree=tree, revision=1), "not-signed-yet")
    with pytest.raises(RefusedError, match="there is no publication"):
        signing.sign_manifest(second.pk + 1000)
    assert signing.sign_manifest(second.pk) == signing.sign_manifest(second.pk)
    publish(tree)
    assert verified(tree, signer).files == 2


def a_segment_that_is_not_what_the_database_says(second: Publication) -> None:
    assert second.manifest is not None
    rows = Publication.objects.filter(pk=second.pk)
    lines = manifest.lines(manifest.Head("files", 2, 1), [*said(second), manifest.Gone("a")])
    rows.update(manifest=put_bytes(manifest.pack(lines)))
    refuses(second, "other-bytes")
    base = manifest.lines(manifest.Head("files", 2, 0), said(second))
    rows.update(manifest=put_bytes(manifest.pack(base)))
    refuses(second, "other-bytes")
    rows.update(manifest=put_bytes(b""))
    refuses(second, "other-bytes")
    rows.update(manifest=second.manifest)
    file = path_of(second.manifest.sha256)
    whole = file.read_bytes()
    file.write_bytes(b"")
    refuses(second, "other-bytes")
    file.write_bytes(whole)


def files_and_aliases_from_nowhere(tree: ReleaseTree, second: Publication) -> None:
    evil = put_bytes(b"evil")
    row = TreeFile.objects.get(tree=tree, path="b")
    rows = TreeFile.objects.filter(pk=row.pk)
    rows.update(blob=evil, sha256=evil.sha256, size=evil.size)
    refuses(second, "not-approved")
    rows.update(blob=row.blob, sha256=row.sha256)
    refuses(second, "other-bytes")
    rows.update(blob=evil, size=row.size)
    refuses(second, "other-bytes")
    rows.update(blob=row.blob)
    more = TreeAlias.objects.create(tree=tree, path="x", target="a", since_revision=2)
    refuses(second, "not-approved")
    more.delete()
    TreeAlias.objects.filter(path="latest").update(target="a")
    refuses(second, "not-approved")
    TreeAlias.objects.filter(path="latest").update(target="b")
    Release.objects.filter(number=2).update(state=ReleaseState.REJECTED)
    refuses(second, "not-approved")
    Release.objects.filter(number=2).update(state=ReleaseState.REVIEWED)


def what_nobody_looked_at(tree: ReleaseTree, second: Publication) -> None:
    trees = ReleaseTree.objects.filter(pk=tree.pk)
    trees.update(review="other")
    Release.objects.update(reviewed_by="user:anna", reviewed_at=timezone.now())
    refuses(second, "not-reviewed")
    trees.update(review="any")
    Release.objects.update(reviewed_by="", reviewed_at=None)
    refuses(second, "not-reviewed")
    trees.update(review="none")


def other_statements_to_build_upon(tree: ReleaseTree, second: Publication) -> None:
    first = Publication.objects.get(tree=tree, revision=1)
    rows = Publication.objects.filter(pk=first.pk)
    statement = manifest_rows.statement(first, [])
    other = ReleaseTree.objects.create(name="other", review="none")
    release(other, {"a": b"a"})
    of_another_tree = publish(other).statement
    by_another_key = put_bytes(manifest.seal(statement, Ed25519PrivateKey.generate()))
    for envelope in (by_another_key, put_bytes(b"{}"), of_another_tree):
        rows.update(statement=envelope)
        refuses(second, "not-ours")
    rows.update(statement=None)
    refuses(second, "no-base")
    rows.update(statement=first.statement)


def test_without_a_signer_the_switch_waits(
    tree: ReleaseTree, second: Publication, signer: Config
) -> None:
    socket = signer.signer_socket
    socket.rename(socket.with_name("away"))
    publishing.publish(tree)
    second.refresh_from_db()
    assert second.state == PublicationState.SIGNED
    assert "the signer does not answer" in second.problem
    assert verified(tree, signer).files == 1
    socket.with_name("away").rename(socket)
    publish(tree)
    assert verified(tree, signer).files == 2
