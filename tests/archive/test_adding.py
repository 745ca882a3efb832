"""What may enter a repository, and what a published path means."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction

from commonfarm.archive import interface as archive
from commonfarm.archive.models import Artifact, Entry, Publication
from commonfarm.journal.models import Entry as Line
from commonfarm.lib.errors import BadInputError, NotFoundError, RefusedError
from commonfarm.store.interface import put_file
from tests.archive.world import World, make_deb


def outcomes(verdicts: list[archive.Verdict]) -> list[str]:
    return [str(one.verdict) for one in verdicts]


def test_packages_are_added_and_the_rest_is_kept(world: World, pool: Path) -> None:
    deb = make_deb(pool, "hello", "2.10-3", "amd64")
    (pool / "hello_2.10-3_amd64.buildinfo").write_text("x")
    verdicts = world.add("job:1", deb, pool / "hello_2.10-3_amd64.buildinfo")
    assert outcomes(verdicts) == ["added", "kept"]
    assert verdicts[0].path == "pool/bookworm/main/h/hello/hello_2.10-3_amd64.deb"
    publication = archive.publication_of("job:1")
    assert publication is not None and (publication.revision, publication.state) == (1, "pending")
    assert "packages added" in Line.objects.values_list("what", flat=True)
    assert outcomes(world.add("job:1", deb, pool / "hello_2.10-3_amd64.buildinfo")) == [
        "added",
        "kept",
    ]
    assert Entry.objects.count() == 1


def test_what_is_added_before_publishing_begins_shares_a_revision(world: World, pool: Path) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    world.add("job:2", make_deb(pool, "bye", "1", "all"))
    assert Publication.objects.count() == 1


def test_the_same_bytes_again_are_dropped(world: World, pool: Path) -> None:
    deb = make_deb(pool, "hello", "1", "amd64")
    world.add("job:1", deb)
    assert outcomes(world.add("job:2", deb)) == ["identical"]
    assert archive.publication_of("job:2") is None


def test_other_bytes_of_a_version_add_nothing_at_all(world: World, pool: Path) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    other = make_deb(pool, "hello", "1", "amd64", body="y")
    new = make_deb(pool, "hello-doc", "1", "all")
    assert outcomes(world.add("job:2", other, new)) == ["differs", "kept"]
    assert Entry.objects.count() == 1
    again = make_deb(pool, "hello", "1+b1", "amd64", body="y")
    assert outcomes(world.add("job:3", again, new)) == ["added", "added"]


def test_the_database_refuses_a_second_content_of_a_path(world: World, pool: Path) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    entry = Entry.objects.get()
    entry.pk = None
    entry.distribution = "trixie"
    with pytest.raises(IntegrityError, match="one_entry_per_path"), transaction.atomic():
        entry.save()


def test_a_version_does_not_go_back(world: World, pool: Path) -> None:
    world.add("job:1", make_deb(pool, "hello", "2.0", "amd64"))
    with pytest.raises(RefusedError, match=r"hello 1\.9 is lower than 2\.0") as refused:
        world.add("job:2", make_deb(pool, "hello", "1.9", "amd64"))
    assert refused.value.reason.lifted_by == "build a version above 2.0"
    assert not Artifact.objects.filter(producer="job:2").exists()
    assert outcomes(world.add("job:3", make_deb(pool, "hello", "2.0~~", "all"))) == ["added"]


def test_a_bad_file_among_good_ones_adds_nothing(world: World, pool: Path) -> None:
    good, bad = make_deb(pool, "hello", "1", "amd64"), pool / "bad_1_amd64.deb"
    bad.write_bytes(b"no package")
    with pytest.raises(BadInputError, match="bad_1_amd64"):
        world.add("job:1", good, bad)
    assert not Artifact.objects.exists() and not Publication.objects.exists()


def test_a_producer_cannot_change_what_it_brought(world: World, pool: Path) -> None:
    world.add("job:1", make_deb(pool, "hello", "1", "amd64"))
    with pytest.raises(RefusedError, match="other bytes"):
        world.add("job:1", make_deb(pool, "hello", "1", "amd64", body="y"))


def test_names_and_blobs_that_are_not_there_are_refused(world: World) -> None:
    def add(name: str) -> None:
        new = [archive.NewArtifact(name, "0" * 64)]
        archive.add_build("job:1", world.project, world.target, new, {}, who="x")

    with pytest.raises(NotFoundError):
        add("hello_1_amd64.deb")
    with pytest.raises(BadInputError):
        add("../hello_1_amd64.deb")


def test_what_the_signer_could_state_nothing_of_is_refused(world: World, pool: Path) -> None:
    deb = make_deb(pool, "hello", "1", "amd64")
    new = [archive.NewArtifact(deb.name, put_file(deb).sha256)]
    cases: list[tuple[dict[str, Any], str]] = [
        ({"base_root": [1]}, "no statement can be made of them: AttributeError"),
        ({"packages": 5}, "no statement can be made of them: TypeError"),
        ({"packages": ["gcc"] * 40_000}, "more than 1048576"),
    ]
    for says, why in cases:
        with pytest.raises(BadInputError, match=why):
            archive.add_build(
                "job:1", world.project, world.target, new, {"agent": says}, who="builder:b@1"
            )
    assert not Artifact.objects.exists()


def test_without_a_repository_everything_is_kept(world: World, pool: Path) -> None:
    world.project.repository = None
    assert outcomes(world.add("job:1", make_deb(pool, "hello", "1", "amd64"))) == ["kept"]
    assert not Publication.objects.exists()
