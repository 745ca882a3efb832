"""The signer signs a mirror map only if it sends people to what was published."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from django.utils import timezone

from commonfarm.archive import interface as archive
from commonfarm.archive import publishing, signing
from commonfarm.archive.models import Publication, PublicationState, TreeAlias, TreeFile
from commonfarm.archive.signer import approve_map
from commonfarm.lib.config import Config
from commonfarm.lib.errors import RefusedError
from commonfarm.redirector.mirror_map import (
    DELTA,
    FULL,
    Hashes,
    Mirror,
    MirrorMap,
    Revision,
    Tree,
    load,
    read_key,
)
from commonfarm.redirector.mirror_map.writing import (
    Columns,
    Head,
    build,
    build_delta,
    install,
    stage,
)
from commonfarm.store.interface import put_bytes
from tests.archive.world import World, make_deb

MIRROR = Mirror("m", "main", http="http://m.example.org/", country="DE")


@pytest.fixture
def tree(world: World, installation: Config) -> World:
    """A tree of two revisions, by rows alone."""
    for revision in (1, 2):
        Publication.objects.create(
            tree=world.tree,
            revision=revision,
            state=PublicationState.PUBLISHED,
            published_at=timezone.now(),
        )
        add(world, "Release", f"Release {revision}".encode(), revision, changes=True)
        add(world, f"pool/{revision}", f"file {revision}".encode(), revision)
    TreeFile.objects.filter(path="Release", since_revision=1).update(until_revision=2)
    return world


def add(world: World, path: str, data: bytes, since: int, *, changes: bool = False) -> None:
    blob = put_bytes(data)
    TreeFile.objects.create(
        tree=world.tree,
        path=path,
        blob=blob,
        sha256=blob.sha256,
        size=len(data),
        since_revision=since,
        changes=changes,
    )


def columns(world: World, revision: int = 2) -> Columns:
    """The true columns of a revision, with their further hashes."""
    files = archive.joined(archive.file_columns(world.tree, revision))
    hashes = dict(archive.file_hashes(world.tree, revision))
    return Columns(
        paths=[b"main/" + path for path in files.paths],
        sizes=files.sizes,
        sha256=files.sha256.copy(),
        rows=files.numbers,
        flags=files.changes.astype(np.uint8),
        holdings=np.ones((len(files.paths), 1), np.uint8),
        hashes=[hashes[number] for number in files.numbers.tolist()],
    )


def head(tree: Tree | None = None, generation: int = 5) -> Head:
    trees = [tree or Tree("main", 2, {}, {})]
    return Head(generation, "2026-01-01T00:00:00+00:00", [MIRROR], trees)


def approved(config: Config, the_head: Head, the_columns: Columns, base: object = None) -> bytes:
    folder = config.mirror_map.parent
    if isinstance(base, MirrorMap):
        payload = build_delta(base, the_head, the_columns)
    else:
        payload = build(the_head, the_columns)
    stage(folder, payload)
    assert approve_map.header(folder, the_head.generation, delta=payload.is_delta) == payload.header
    return payload.header


def test_the_signer_signs_a_map_and_a_delta(
    world: World, pool: Path, signer: Config, published_calls: list[tuple[str, int]]
) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    publishing.publish(world.tree)
    folder = signer.mirror_map.parent
    key = read_key(signer.public_keys / "statements.pub")
    now = head(Tree("main", 1, {}, {}), 5)
    staged = stage(folder, build(now, columns(world, 1)))
    install(staged, signing.sign_mirror_map(5, delta=False), key)
    base = load(folder, key)
    assert base.generation == 5
    empty = Columns.of({}, 1)
    staged = stage(folder, build_delta(base, replace(now, generation=6), empty))
    assert staged.name == f".{DELTA}.new"
    install(staged, signing.sign_mirror_map(6, delta=True), key)
    assert (load(folder, key).generation, load(folder, key).delta_problem) == (6, "")
    with pytest.raises(RefusedError, match="mirror map 7 cannot be read"):
        signing.sign_mirror_map(7, delta=False)


def test_a_true_map_is_approved(tree: World, installation: Config) -> None:
    approved(installation, head(), columns(tree))
    known = columns(tree)
    silent = [Hashes(modified_at=0) if one else None for one in known.hashes]
    approved(installation, head(), replace(known, hashes=silent))


def test_every_file_must_be_what_the_database_says(tree: World, installation: Config) -> None:
    true = columns(tree)
    other = np.array(true.sha256)
    other[0] ^= 1
    for untrue in (
        replace(true, sizes=np.array(true.sizes) + 1),
        replace(true, sha256=other),
        replace(true, paths=[*true.paths[1:], true.paths[0]]),
        replace(true, paths=[b"main/evil", *true.paths[1:]]),
        replace(true, rows=np.array(true.rows) + 1000),
        replace(true, flags=np.zeros(len(true.paths), np.uint8)),
        columns(tree, 1),
    ):
        with pytest.raises(RefusedError, match=r"says of .* what is not published"):
            approved(installation, head(), untrue)


def test_further_hashes_must_be_what_the_database_says(tree: World, installation: Config) -> None:
    true = columns(tree)
    [number] = [n for n, one in enumerate(true.hashes) if one and one.alternates]
    first = list(true.hashes)[number]
    assert first is not None and len(first.alternates) == 1
    for forged in (
        replace(first, sha1=b"1" * 20),
        replace(first, md5=b"1" * 16),
        replace(first, piece_bytes=1, pieces=(b"1" * 32,)),
        replace(first, alternates=(Revision(0, 1, b"1" * 32),)),
        replace(first, alternates=(replace(first.alternates[0], sha1=b"1" * 20),)),
    ):
        hashes = list(true.hashes)
        hashes[number] = forged
        with pytest.raises(RefusedError, match=r"has hashes of main/.* does not know"):
            approved(installation, head(), replace(true, hashes=hashes))


def test_trees_must_be_what_the_database_says(tree: World, installation: Config) -> None:
    TreeAlias.objects.create(tree=tree.tree, path="a", target="pool", since_revision=2)
    entry = Tree("main", 2, {"a": "pool"}, {})
    approved(installation, head(entry), columns(tree))
    for untrue, why in (
        (replace(entry, folder="/etc"), "'/etc', where it is not"),
        (replace(entry, aliases={}), "aliases in main"),
        (replace(entry, aliases={"a": "Release"}), "aliases in main"),
        (replace(entry, repositories={"x": "pool"}), "repositories of main"),
        (replace(entry, revision=3), "main@3, which is not published"),
        (replace(entry, name="other"), "'other', which there is not"),
    ):
        made = head(untrue)
        if untrue.name != "main":
            made = replace(made, mirrors=[replace(MIRROR, tree=untrue.name)])
        with pytest.raises(RefusedError, match=why):
            approved(installation, made, columns(tree))


def test_a_map_may_be_of_the_revision_before_for_a_while(tree: World, installation: Config) -> None:
    before = Tree("main", 1, {}, {})
    approved(installation, head(before), columns(tree, 1))
    Publication.objects.filter(revision=2).update(published_at=timezone.now() - timedelta(hours=1))
    with pytest.raises(RefusedError, match="main@1, which is outdated"):
        approved(installation, head(before), columns(tree, 1))


def test_a_map_is_asked_for_by_what_it_is(tree: World, installation: Config) -> None:
    folder = installation.mirror_map.parent
    staged = stage(folder, build(head(), columns(tree)))
    with pytest.raises(RefusedError, match="calls itself 5"):
        approve_map.header(folder, 6, delta=False)
    staged.rename(folder / f".{DELTA}.new")
    with pytest.raises(RefusedError, match="is no delta"):
        approve_map.header(folder, 5, delta=True)
    (folder / f".{FULL}.new").write_bytes(b"no map")
    with pytest.raises(RefusedError, match="cannot be read"):
        approve_map.header(folder, 5, delta=False)
