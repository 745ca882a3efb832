"""Promotion within an installation: what is public in one tree becomes a release of another."""

from __future__ import annotations

import pytest

from commonfarm.archive import publishing
from commonfarm.archive.models import Publication, Release
from commonfarm.archive.promoting import promote
from commonfarm.archive.releases import going_public, lifecycle
from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.errors import BadInputError, NotFoundError, RefusedError
from commonfarm.store.interface import put_all
from tests.archive.releases import NOW, Releases

WHO = "user:anna"


@pytest.fixture
def stable(releases: Releases) -> ReleaseTree:
    ReleaseTree.objects.update(promotes_to="stable")
    releases.tree.refresh_from_db()
    return ReleaseTree.objects.create(name="stable")


def promoted(releases: Releases, release: Release | None = None, to: str = "") -> Release:
    return promote(releases.tree, release, to, who=WHO, now=NOW)


def brought(release: Release) -> dict[str, str]:
    """What a release brings: SHA-256 of its files, and the text of its links."""
    rows = release.files.values_list("path", "blob_id", "target")
    return {path: sha256 or target for path, sha256, target in rows}


def test_a_release_is_promoted_as_it_was(releases: Releases, stable: ReleaseTree) -> None:
    public = releases.published(
        {"4/a": "a", "4/b": "b"}, {"new/latest": "../4", "new/b": "latest/b"}
    )
    made = promoted(releases, public)
    assert (made.tree, made.number, made.state) == (stable, 1, "unlisted")
    assert (made.origin, made.title, made.put_by) == ("release:sugar/1", "a release", WHO)
    assert brought(made) == brought(public)


def test_a_tree_is_promoted_by_what_the_other_lacks(
    releases: Releases, stable: ReleaseTree
) -> None:
    first = releases.published({"4/a": "a"}, {"new/latest": "../4"})
    assert brought(promoted(releases)) == brought(first)
    lifecycle.review(Release.objects.get(tree=stable), ok=True, who="user:b", now=NOW)
    going_public.publish(Release.objects.get(tree=stable), NOW, who="user:b")
    publishing.publish(stable)
    with pytest.raises(RefusedError, match="the tree stable has all that sugar has"):
        promoted(releases)
    second = releases.published({"5/a": "a", "5/c": "c"}, {"new/newest": "../5"})
    made = promoted(releases)
    assert brought(made) == brought(second)
    assert made.origin == "tree:sugar@2"
    # Nothing of the manifest, which is each tree's own.
    assert not [path for path in brought(made) if path.startswith("manifest/")]


def test_what_is_not_public_is_not_promoted(releases: Releases, stable: ReleaseTree) -> None:
    release = releases.reviewed({"a": "a"})
    with pytest.raises(RefusedError, match="is reviewed, and only what is public is promoted"):
        promoted(releases, release)
    with pytest.raises(RefusedError, match="has all that sugar has"):
        promoted(releases)


def test_what_was_withdrawn_or_is_on_its_way_is_not_promoted(
    releases: Releases, stable: ReleaseTree
) -> None:
    bad = releases.published({"a": "a", "bad": "bad"})
    releases.published({"a": "a"})
    going_public.withdraw(bad, who=WHO, why="a fault")
    releases.work()
    assert "bad" in releases.lying()
    going_public.publish(releases.reviewed({"b": "b"}, {"latest": "b"}), NOW, who="user:bert")
    publishing.advance(Publication.objects.latest("revision"))
    assert list(brought(promoted(releases))) == ["a"]


def test_where_it_goes(releases: Releases, stable: ReleaseTree) -> None:
    releases.published({"a": "a"})
    with pytest.raises(RefusedError, match="sugar is the tree itself"):
        promoted(releases, to="sugar")
    with pytest.raises(NotFoundError, match="did you mean `stable`"):
        promoted(releases, to="stabel")
    other = ReleaseTree.objects.create(name="other")
    assert promoted(releases, to="other").tree == other
    ReleaseTree.objects.filter(pk=stable.pk).update(adopts="/srv/pub")
    with pytest.raises(RefusedError, match="the tree stable is adopted"):
        promoted(releases)
    with pytest.raises(RefusedError, match="declare `promotes_to`"):
        promote(other, None, "", who=WHO, now=NOW)


def test_what_does_not_fit_there_is_refused_and_leaves_nothing(
    releases: Releases, stable: ReleaseTree
) -> None:
    [blob] = put_all([b"other bytes"])
    taken = lifecycle.open_release(stable, who=WHO)
    lifecycle.add_files(taken, [("a/b", blob.sha256)], owner=None)
    lifecycle.close(taken, who=WHO, now=NOW)
    lifecycle.review(taken, ok=True, who="user:b", now=NOW)
    going_public.publish(taken, NOW, who="user:b")
    publishing.publish(stable)
    releases.published({"a": "a file where stable has a folder"})
    with pytest.raises(BadInputError, match="is a folder of the tree"):
        promoted(releases)
    assert Release.objects.filter(tree=stable).count() == 1
