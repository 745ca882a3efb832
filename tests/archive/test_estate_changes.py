"""The estate changes while a publication is between its steps: it is assembled again by itself."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from commonfarm.archive import distributions, publishing, trees
from commonfarm.archive.interface import ask_publication
from commonfarm.archive.models import Publication, TreeFile
from commonfarm.estate.interface import Project, Repository, Target
from commonfarm.journal.interface import latest
from commonfarm.lib.config import Config
from commonfarm.store.interface import put_bytes
from tests.archive.world import World, make_deb


def add_target(world: World, suite: str, architecture: str) -> None:
    target = Target.objects.create(
        name=f"{suite}-{architecture}",
        declared_suite=suite,
        suite=suite,
        components=["main"],
        architecture=architecture,
    )
    world.project.targets.add(target)


def change_validity(world: World) -> None:
    Repository.objects.filter(pk=world.repository.pk).update(valid_seconds=86400)


CHANGES = {
    "a suite": lambda world: add_target(world, "trixie", "amd64"),
    "an architecture": lambda world: add_target(world, "bookworm", "arm64"),
    "the validity": change_validity,
}


@pytest.mark.parametrize("published_before", [False, True])
@pytest.mark.parametrize("what", CHANGES)
def test_what_changes_after_assembling_is_in_the_same_publication(
    world: World,
    pool: Path,
    signer: Config,
    published_calls: list[tuple[str, int]],
    what: str,
    published_before: bool,
) -> None:
    if published_before:
        world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
        publishing.publish(world.tree)
    world.add("job:2", make_deb(pool, "bye", "1", "amd64"))
    publication = Publication.objects.latest("revision")
    publishing.advance(publication)
    CHANGES[what](world)
    publishing.advance(publication)
    publication.refresh_from_db()
    assert publication.state == "pending"
    assert "the estate has changed" in publication.problem
    publishing.publish(world.tree)
    publication.refresh_from_db()
    assert (publication.state, publication.problem) == ("published", "")
    dists = signer.published / "main/demo/dists"
    for target in world.project.targets.all():
        release = (dists / target.suite / "InRelease").read_text()
        assert f"main/binary-{target.architecture}/Packages" in release
    seen = {str(one.relative_to(dists.parent)) for one in dists.rglob("*") if one.is_file()}
    listed = trees.current_files(world.tree).filter(path__startswith="demo/dists/")
    assert seen == {path.removeprefix("demo/") for path in listed.values_list("path", flat=True)}
    told = [event.what for event in latest(100, subject=publication.label)]
    assert told.count("tree to be assembled again") == 1
    assert "publication failed" not in told


def test_what_an_assembling_before_made_and_nobody_saw_leaves_no_trace(
    world: World, pool: Path
) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    publication = Publication.objects.get()
    first, second = put_bytes(b"first"), put_bytes(b"second")
    by_hash = "demo/dists/x/main/by-hash/SHA256/1"
    trees.put_files(publication, {"demo/a": first, by_hash: first}, complete_below=[""])
    trees.put_files(publication, {"demo/b": second}, complete_below=[""])
    assert [file.path for file in TreeFile.objects.all()] == ["demo/b"]
    trees.put_files(publication, {"demo/a": second}, complete_below=[""])
    assert [(file.path, file.blob) for file in TreeFile.objects.all()] == [("demo/a", second)]


def test_a_suite_that_leaves_takes_its_signatures_along(
    world: World, pool: Path, signer: Config, published_calls: list[tuple[str, int]]
) -> None:
    add_target(world, "trixie", "amd64")
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    publishing.publish(world.tree)
    published = signer.published / "main/demo"
    signed = {"Release", "InRelease", "Release.gpg"}
    assert signed < {one.name for one in (published / "dists/trixie").iterdir()}
    world.project.targets.remove(Target.objects.get(suite="trixie"))
    ask_publication(world.tree, "trixie left", who="user:anna")
    publishing.publish(world.tree)
    left = {str(one.relative_to(published)) for one in published.rglob("*") if one.is_file()}
    assert {f"dists/bookworm/{name}" for name in signed} < left
    assert "pool/bookworm/main/h/hello/hello_1_amd64.deb.intoto.jsonl" in left
    assert [path for path in left if "trixie" in path and "/by-hash/" not in path] == []


def test_a_suite_of_a_project_that_left_is_no_longer_announced(world: World, pool: Path) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    gone = Project.objects.create(
        name="gone", repository=world.repository, retired_at=datetime(2026, 1, 1, tzinfo=UTC)
    )
    add_target(world, "trixie", "amd64")
    gone.targets.set(Target.objects.filter(suite="trixie"))
    world.project.targets.remove(*gone.targets.all())
    found = distributions.of(Publication.objects.get())
    assert [one.suite for one in found] == ["bookworm"]
