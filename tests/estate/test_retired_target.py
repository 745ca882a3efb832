"""A target that left the estate gets no new builds, and what was published for it stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.utils import timezone

from commonfarm.accounts.interface import Role
from commonfarm.archive.interface import current_files
from commonfarm.archive.models import Publication, PublicationState, TreeFile
from commonfarm.estate.interface import Project, ReleaseTree, load_directory
from commonfarm.store.interface import put_bytes
from tests.farm.packages import make_source
from tests.farm.test_api import Caller

pytestmark = pytest.mark.django_db

DEB = "pub/demo/pool/bookworm/main/g/greeting/greeting_1.0-1_amd64.deb"


def publish(tree: ReleaseTree) -> None:
    """Have a file in the tree, as publishing leaves it."""
    blob = put_bytes(b"a deb")
    TreeFile.objects.create(
        tree=tree, path=DEB, blob=blob, sha256=blob.sha256, size=blob.size, since_revision=1
    )
    Publication.objects.create(
        tree=tree, revision=1, state=PublicationState.PUBLISHED, published_at=timezone.now()
    )


def test_no_new_builds_and_nothing_is_taken_back(folder: Path, tmp_path: Path) -> None:
    load_directory(folder, "user:anna")
    publish(ReleaseTree.named("pub"))
    anna = Caller(Role.SUBMITTER)
    dsc = make_source(tmp_path)
    status, build = anna.submit(dsc, project="first")
    assert status == 201, build
    text = (folder / "estate.yaml").read_text()
    before, _, rest = text.partition("targets:\n")
    _, _, after = rest.partition("projects:\n")
    other = rest.partition("projects:\n")[0].replace("bookworm-amd64", "bookworm-again")
    after = after.replace("[bookworm-amd64]", "[bookworm-again]")
    (folder / "estate.yaml").write_text(f"{before}targets:\n{other}projects:\n{after}")
    load = load_directory(folder, "user:anna")
    assert load.changes == [
        "target bookworm-again: new",
        "project first: targets are bookworm-again",
        "target bookworm-amd64: retired",
    ]
    status, said = anna.submit(dsc, project="first", targets=["bookworm-amd64"])
    assert status == 422
    assert said["problems"][0]["what"] == "'bookworm-amd64' is not a target of first"
    assert said["problems"][0]["to_do"] == "did you mean `bookworm-again`?"
    assert anna.get(f"/builds/{build['id']}")[1]["jobs"] == build["jobs"]
    assert [file.path for file in current_files(ReleaseTree.named("pub"))] == [DEB]


def test_a_project_that_left_builds_nothing_and_its_tree_stays(
    folder: Path, tmp_path: Path
) -> None:
    load_directory(folder, "user:anna")
    tree, project = ReleaseTree.named("pub"), Project.named("first")
    publish(tree)
    (folder / "estate.yaml").write_text("pools: [{name: local, architecture: amd64}]\n")
    load_directory(folder, "user:anna")
    status, said = Caller(Role.SUBMITTER).submit(make_source(tmp_path), project=project.name)
    assert status == 404
    assert "the project first left the estate on" in said["detail"]
    assert [file.path for file in current_files(tree)] == [DEB]
