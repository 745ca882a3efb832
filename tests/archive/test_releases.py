"""From an upload to the public and back: the states of a release, and what users see of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from commonfarm.archive import assembling, publishing, signing, tasks
from commonfarm.archive.models import Publication, Release, TreeFile
from commonfarm.archive.releases import going_public, lifecycle, staging
from commonfarm.archive.releases.explaining import explain
from commonfarm.archive.trees import canonical_aliases
from commonfarm.estate.interface import ReleaseTree, Repository
from commonfarm.journal.models import Entry
from commonfarm.lib.config import Config
from commonfarm.lib.errors import BadInputError, Reason, RefusedError, UnreachableError
from commonfarm.store.interface import add_chunk, blob_path, put_bytes, start_upload
from tests.archive.releases import NOW, Releases

HOUR = timedelta(hours=1)


def told(error: pytest.ExceptionInfo[BadInputError]) -> list[str]:
    return [str(problem) for problem in error.value.problems]


def blob_of(release: Release, path: str) -> Path:
    sha256 = release.files.get(path=path).blob_id
    assert sha256 is not None
    return blob_path(sha256)


def events(release: Release) -> list[str]:
    return list(
        Entry.objects.filter(subject=release.label).order_by("id").values_list("what", flat=True)
    )


def test_a_release_goes_its_way(releases: Releases, published_calls: list[tuple[str, int]]) -> None:
    release = releases.opened({"v1/a.xo": "a", "v1/b.xo": "b"}, {"latest": "v1"})
    assert (release.number, release.state, release.put_by) == (1, "open", "user:anna")
    token = lifecycle.close(release, who="user:anna", now=NOW)
    assert token not in release.link_digest
    assert lifecycle.by_link(token) == release
    assert lifecycle.by_link("another") is None
    other = lifecycle.new_link(release, who="user:anna")
    assert (lifecycle.by_link(token), lifecycle.by_link(other)) == (None, release)
    with pytest.raises(RefusedError, match=r"to publish it; have it looked at before: .* review"):
        going_public.publish(release, NOW, who="user:anna")
    with pytest.raises(RefusedError, match=r"to withdraw it; reject it: .* review sugar 1 --rej"):
        going_public.withdraw(release, who="user:anna", why="broken")
    lifecycle.review(release, ok=True, who="user:anna", now=NOW)
    publication = going_public.publish(release, NOW, who="user:bert")
    assert publication is not None
    assert not releases.seen.exists()
    with pytest.raises(RefusedError, match="is being published by sugar revision 1"):
        going_public.publish(release, NOW, who="user:bert")
    assert releases.work() == 1
    release.refresh_from_db()
    assert (release.state, release.publication) == ("public", publication)
    assert lifecycle.by_link(other) is None
    assert releases.lying() == ["latest", "v1/a.xo", "v1/b.xo"]
    assert (releases.seen / "latest/a.xo").read_text() == "a"
    assert str((releases.seen / "latest").readlink()) == "v1"
    assert published_calls == [("sugar", 1)]
    assert events(release) == [
        "release opened",
        "release closed",
        "release linked anew",
        "release reviewed",
        "release to be published",
        "release published",
    ]


def test_all_faults_are_told_at_once_and_it_stays_open(releases: Releases) -> None:
    releases.published({"v1/a.xo": "a", "doc/x": "x"}, {"latest": "v1"})
    Repository.objects.create(
        name="apt", tree=releases.tree, path="debian", valid_seconds=7 * 86400
    )
    release = releases.opened(
        {
            "v1/a.xo": "other",
            "doc": "no folder",
            "doc/x/y": "below a file",
            "latest/b.xo": "behind a link",
            "debian/pool/a.deb": "a repository's",
            "manifest/other.json": "the manifest's",
            "here": "file",
            "here/below": "file",
            "v2/c.xo": "good",
        },
        {
            "out": "../elsewhere",
            "absolute": "/etc/passwd",
            "nowhere": "v3",
            "around": "circle",
            "circle": "around",
            "newest": "latest/a.xo",
            "v1/a.xo.link": "a.xo",
        },
    )
    with pytest.raises(BadInputError) as error:
        lifecycle.close(release, who="user:anna", now=NOW)
    said = "\n".join(told(error))
    for fault in (
        "v1/a.xo: was published in revision 1 with other bytes, and a published file is never",
        "doc: is a folder of the tree",
        "doc/x/y: lies below doc, which is a file",
        "doc/x/y: lies below doc/x, which is a file of the tree",
        "latest/b.xo: lies behind latest, a link of the tree to v1",
        "debian/pool/a.deb: is part of the repository at debian",
        "manifest/other.json: is where the tree's signed manifest lies",
        "here/below: lies below here, which is a file",
        "out: is a link to ../elsewhere, which leaves the tree",
        "absolute: is a link to /etc/passwd, which leaves the tree",
        "nowhere: is a link to v3, where there is nothing",
        "around: is a link to circle, and the links lead around in a circle",
        "circle: is a link to around, and the links lead around in a circle",
    ):
        assert fault in said
    assert len(told(error)) == 13, said
    release.refresh_from_db()
    assert release.state == "open"
    with pytest.raises(BadInputError, match="has no files"):
        lifecycle.close(releases.opened({}), who="user:anna", now=NOW)


def test_what_cannot_be_added_is_named(releases: Releases) -> None:
    release = releases.opened({"a": "a"})
    sha256 = put_bytes(b"b").sha256
    names = ["../x", "/x", "x//y", "x/./y", "", "a\nb", "x" * 1001, "y" * 241, "\udcff"]
    with pytest.raises(BadInputError) as error:
        lifecycle.add_files(release, [(name, sha256) for name in names], owner=None)
    assert len(told(error)) == len(names)
    with pytest.raises(BadInputError, match="is in the release twice, with other bytes"):
        lifecycle.add_files(release, [("a", sha256)], owner=None)
    with pytest.raises(BadInputError, match="is in the release twice, with other bytes"):
        lifecycle.add_aliases(release, [("a", "b")])
    with pytest.raises(BadInputError, match="comes with no SHA-256"):
        lifecycle.add_files(release, [("c", "nothing")], owner=None)
    assert lifecycle.add_files(release, [("b", sha256)], owner=None) == 1
    assert lifecycle.add_files(release, [("b", sha256)], owner=None) == 0
    with pytest.raises(BadInputError, match="a link that cannot be"):
        lifecycle.add_aliases(release, [("l", "")])


def test_only_what_its_owner_uploaded_can_be_added(releases: Releases) -> None:
    release = releases.opened({})
    stored = put_bytes(b"somebody else's").sha256
    with pytest.raises(BadInputError, match="was not uploaded in full"):
        lifecycle.add_files(release, [("a", stored)], owner="user:anna")
    start_upload("user:anna", stored, 15)
    with pytest.raises(BadInputError, match="was not uploaded in full"):
        lifecycle.add_files(release, [("a", stored)], owner="user:anna")
    add_chunk("user:anna", stored, 0, b"somebody else's")
    assert lifecycle.add_files(release, [("a", stored)], owner="user:anna") == 1


@pytest.mark.parametrize("policy", ["none", "any", "other"])
def test_who_reviews_is_the_trees_policy(releases: Releases, policy: str) -> None:
    releases.tree.review = policy
    releases.tree.save()
    release = releases.opened({"a": "a"})
    lifecycle.close(release, who="user:anna", now=NOW)
    if policy == "none":
        assert release.state == "reviewed"
        return
    if policy == "other":
        with pytest.raises(RefusedError, match="wants it looked at by another"):
            lifecycle.review(release, ok=True, who="user:anna", now=NOW)
    with pytest.raises(BadInputError, match="rejected without a word why"):
        lifecycle.review(release, ok=False, who="user:bert", now=NOW)
    lifecycle.review(release, ok=False, who="user:bert", now=NOW, why="it is empty")
    assert (release.state, release.why, release.reviewed_by) == (
        "rejected",
        "it is empty",
        "user:bert",
    )
    with pytest.raises(RefusedError, match=r"unlisted to review it; see .* tree show sugar 1$"):
        lifecycle.review(release, ok=True, who="user:bert", now=NOW)


def test_a_tree_that_is_adopted_or_retired_takes_none(releases: Releases) -> None:
    for change in ({"adopts": "/srv/files"}, {"retired_at": NOW}):
        tree = ReleaseTree.objects.create(name=f"t{len(change)}{next(iter(change))}", **change)
        with pytest.raises(RefusedError):
            lifecycle.open_release(tree, who="user:anna")


def test_the_origin_only_period_begins_with_each_new_file(releases: Releases) -> None:
    releases.tree.changing = ["latest.*"]
    releases.tree.save()
    releases.published({"a": "a", "latest.json": "1"})
    rows = {file.path: file for file in TreeFile.objects.exclude(release=None)}
    assembled = Publication.objects.get().assembled_at
    assert assembled is not None
    assert rows["a"].mirrors_from == assembled + timedelta(minutes=30)
    assert (rows["latest.json"].mirrors_from, rows["latest.json"].changes) == (None, True)
    releases.published({"b": "b", "a": "a"})
    assert TreeFile.objects.filter(path="a").count() == 1


def test_what_is_declared_so_may_change(releases: Releases) -> None:
    releases.tree.changing = ["latest.*", "doc/*.html"]
    releases.tree.save()
    releases.published({"latest.json": "1", "doc/a/index.html": "1"}, {"stable": "doc"})
    releases.published({"latest.json": "2", "doc/a/index.html": "2", "v2/x": "x"}, {"stable": "v2"})
    assert (releases.seen / "latest.json").read_text() == "2"
    assert (releases.seen / "stable/x").read_text() == "x"
    assert canonical_aliases(releases.tree, 1) == {"stable": "doc"}


def test_aliases_of_aliases_lead_to_what_is_there(releases: Releases) -> None:
    releases.published(
        {"v1/bin/a": "a"},
        {"latest": "v1", "stable": "latest", "tools": "stable/bin", "v1/bin/b": "a"},
    )
    assert canonical_aliases(releases.tree, 1) == {
        "latest": "v1",
        "stable": "v1",
        "tools": "v1/bin",
        "v1/bin/b": "v1/bin/a",
    }
    assert (releases.seen / "tools/b").read_text() == "a"
    assert str((releases.seen / "v1/bin/b").readlink()) == "a"


def test_withdrawn_files_lie_there_for_the_grace_period(releases: Releases) -> None:
    releases.published({"v1/a": "a"}, {"latest": "v1"})
    second = releases.published({"v2/b": "b", "v1/a": "a"}, {"latest": "v2", "new": "v2/b"})
    with pytest.raises(BadInputError, match="without a word why"):
        going_public.withdraw(second, who="user:anna", why=" ")
    going_public.withdraw(second, who="user:anna", why="it does not start")
    assert releases.work() == 3
    second.refresh_from_db()
    assert (second.state, second.why) == ("withdrawn", "it does not start")
    assert releases.listed() == ["v1/a"]
    assert releases.lying() == ["latest", "v1/a", "v2/b"]
    assert canonical_aliases(releases.tree, 3) == {"latest": "v1"}
    leaving = TreeFile.objects.get(path="v2/b")
    assembled = Publication.objects.get(revision=3).assembled_at
    assert assembled is not None
    assert leaving.leaves_at == assembled + timedelta(days=7)
    tasks.end_grace()
    assert releases.work() == 3
    TreeFile.objects.filter(path="v2/b").update(leaves_at=timezone.now())
    tasks.end_grace()
    assert releases.work() == 4
    assert releases.lying() == ["latest", "v1/a"]
    assert (releases.seen / "latest/a").read_text() == "a"


def test_what_must_go_now_goes_from_past_folders_too(
    releases: Releases,
    django_capture_on_commit_callbacks: Callable[..., AbstractContextManager[Any]],
) -> None:
    releases.published({"a": "a"})
    secret = releases.published({"secret": "password"})
    for number in range(3):
        releases.published({f"c{number}": "c"})
    going_public.withdraw(secret, who="user:anna", why="a password")
    releases.work()
    assert "secret" in releases.lying()
    secret.refresh_from_db()
    with django_capture_on_commit_callbacks(execute=True):
        going_public.withdraw(secret, who="user:anna", why="a password", at_once=True)
        assert releases.work() == 7
    assert releases.lying() == ["a", "c0", "c1", "c2"]
    assert [one.name for one in releases.config.published.iterdir()] != []
    assert not list(releases.config.published.rglob("secret"))
    releases.published({"later": "x"})


def test_what_was_withdrawn_keeps_its_bytes_for_ever(releases: Releases) -> None:
    release = releases.published({"a": "a"})
    going_public.withdraw(release, who="user:anna", why="bad", at_once=True)
    releases.work()
    assert releases.lying() == []
    with pytest.raises(BadInputError, match="a: was published in revision 1 with other bytes"):
        releases.reviewed({"a": "b"})
    releases.published({"a": "a"})
    assert releases.lying() == ["a"]


def test_a_changing_file_goes_back_to_the_release_before(releases: Releases) -> None:
    releases.tree.changing = ["news"]
    releases.tree.save()
    releases.published({"news": "1"})
    second = releases.published({"news": "2"})
    third = releases.published({"news": "3"})
    going_public.withdraw(second, who="user:anna", why="wrong")
    releases.work()
    assert (releases.seen / "news").read_text() == "3"
    going_public.withdraw(third, who="user:anna", why="wrong")
    releases.work()
    assert (releases.seen / "news").read_text() == "1"


def test_a_rollback_is_a_new_revision_with_the_old_files(releases: Releases) -> None:
    releases.tree.changing = ["news"]
    releases.tree.save()
    first = releases.published({"v1/a": "a", "news": "1"}, {"latest": "v1"})
    second = releases.published({"v2/b": "b", "news": "2"}, {"latest": "v2", "extra": "v2"})
    publication = going_public.rollback(releases.tree, 1, who="user:anna", why="v2 crashes")
    assert releases.work() == publication.revision == 3
    assert releases.listed() == ["news", "v1/a"]
    assert releases.lying() == ["latest", "news", "v1/a", "v2/b"]
    assert (releases.seen / "news").read_text() == "1"
    assert canonical_aliases(releases.tree, 3) == {"latest": "v1"}
    states = [Release.objects.get(pk=one.pk).state for one in (first, second)]
    assert states == ["public", "withdrawn"]
    going_public.rollback(releases.tree, 2, who="user:anna", why="it does not")
    assert releases.work() == 4
    assert releases.listed() == ["news", "v1/a", "v2/b"]
    assert (releases.seen / "latest/b").read_text() == "b"
    assert (releases.seen / "extra/b").read_text() == "b"
    assert Release.objects.get(pk=second.pk).state == "public"
    for revision in (0, 4, 9):
        with pytest.raises(RefusedError, match="is not one that users saw before"):
            going_public.rollback(releases.tree, revision, who="user:anna", why="no")


def test_no_rollback_gives_a_path_other_bytes(releases: Releases) -> None:
    releases.tree.changing = ["news"]
    releases.tree.save()
    releases.published({"news": "1"})
    releases.published({"news": "2"})
    releases.tree.changing = []
    releases.tree.save()
    going_public.rollback(releases.tree, 1, who="user:anna", why="try")
    assert releases.work() == 2
    failed = Publication.objects.get(revision=3)
    assert failed.state == "failed"
    assert "news had other bytes in revision 1" in failed.problem
    assert (releases.seen / "news").read_text() == "2"


def test_a_failed_publication_leaves_all_as_it_was(
    releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = releases.published({"a": "a"}, {"l": "a"})
    second = releases.reviewed({"b": "b"}, {"l": "b"})
    going_public.publish(second, NOW, who="user:bert")
    going_public.withdraw(first, who="user:anna", why="bad")
    publication = Publication.objects.get(revision=2)
    publishing.advance(publication)
    assert publication.state == "assembled"
    with monkeypatch.context() as refusing:

        def refuse(_publication: int) -> None:
            raise RefusedError(Reason("no", "the signer refuses"))

        refusing.setattr(signing, "sign_publication", refuse)
        refusing.setattr(assembling, "is_outdated", lambda _publication: False)
        assert releases.work() == 1
    for release in (first, second):
        release.refresh_from_db()
    assert (first.state, first.withdrawn_by_publication) == ("public", None)
    assert (second.state, second.publication) == ("reviewed", None)
    assert "sugar revision 2 failed: the signer refuses" in second.why
    going_public.publish(second, NOW, who="user:bert")
    assert releases.work() == 3
    assert releases.listed() == ["a", "b"]


@pytest.mark.parametrize("fault", ["missing", "short", "damaged", "mode"])
def test_what_cannot_be_read_is_not_published(
    releases: Releases, installation: Config, fault: str
) -> None:
    release = releases.reviewed({"a": "abc", "b": "b"})
    blob = blob_of(release, "a")
    going_public.publish(release, NOW, who="user:bert")
    other = releases.reviewed({"c": "c"})
    going_public.publish(other, NOW, who="user:bert")
    if fault == "missing":
        blob.unlink()
    elif fault == "short":
        blob.write_bytes(b"")
    elif fault == "damaged":
        blob.write_bytes(b"xyz")
    else:
        blob.chmod(0o660)
    assert releases.work() == 1
    release.refresh_from_db()
    assert (release.state, release.publication) == ("reviewed", None)
    assert str(blob) in release.why or "damaged" in release.why, release.why
    assert releases.lying() == ["c"]
    if fault == "mode":
        assert f"{blob}: is a file with mode 0660 of root: not all may read it" in release.why
        assert f"chmod o+r {blob}" in release.why
        with pytest.raises(BadInputError, match="not all may read it"):
            going_public.publish(release, NOW, who="user:bert")
        blob.chmod(0o664)
        going_public.publish(release, NOW, who="user:bert")
        releases.work()
        assert releases.lying() == ["a", "b", "c"]


def test_where_it_stands_is_explained_all_the_way(
    releases: Releases, monkeypatch: pytest.MonkeyPatch
) -> None:
    releases.tree.review = "other"
    releases.tree.save()
    release = releases.opened({"a": "a"})

    def said() -> tuple[str, str]:
        reason = explain(Release.objects.get(pk=release.pk))
        return reason.code, str(reason)

    assert said()[0] == "open"
    lifecycle.close(release, who="user:anna", now=NOW)
    assert said()[0] == "not-reviewed"
    assert "put by user:anna, and nobody has reviewed it; somebody else than" in said()[1]
    lifecycle.review(release, ok=True, who="user:bert", now=NOW)
    assert said()[0] == "not-published"
    later = timezone.now() + HOUR
    going_public.publish(release, timezone.now(), who="user:bert", visible_from=later)
    assert f"until {later:%Y-%m-%d %H:%M:%S} UTC, and is being made ready" in said()[1]
    staging.stage_tree(releases.tree.pk)
    assert "registered mirrors can fetch it" in said()[1]
    going_public.publish(release, timezone.now(), who="user:bert")
    with monkeypatch.context() as away:

        def unreachable(_publication: int) -> None:
            raise UnreachableError(Reason("away", "the signer does not answer"))

        away.setattr(signing, "sign_publication", unreachable)
        publishing.publish(releases.tree)
    assert said()[0] == "on-its-way"
    assert "sugar revision 1, which is assembled: the signer does not answer" in said()[1]
    releases.work()
    assert said() == ("public", "release:sugar/1 is public since sugar revision 1")
    release.refresh_from_db()
    going_public.withdraw(release, who="user:bert", why="too early")
    assert said()[0] == "leaves"
    releases.work()
    assert "was withdrawn: too early" in said()[1]


def test_two_releases_with_one_path_are_not_both_published(releases: Releases) -> None:
    one, two = releases.reviewed({"a": "1"}), releases.reviewed({"a": "2"})
    going_public.publish(one, NOW, who="user:bert")
    with pytest.raises(BadInputError, match="a: is in release:sugar/1 with other bytes"):
        going_public.publish(two, NOW, who="user:bert")
    releases.work()
    with pytest.raises(BadInputError, match="a: was published in revision 1 with other bytes"):
        going_public.publish(two, NOW, who="user:bert")


def test_what_fits_no_longer_when_its_turn_comes_is_held_back(releases: Releases) -> None:
    one, two = releases.reviewed({"a/b": "1", "c": "c"}), releases.reviewed({"a": "2"})
    going_public.publish(one, NOW, who="user:bert")
    going_public.publish(two, NOW, who="user:bert")
    publication = Publication.objects.get()
    two.publication = None
    two.save()
    releases.work()
    two.publication = Publication.objects.create(tree=releases.tree, revision=2)
    two.save()
    assert releases.work() == 2
    two.refresh_from_db()
    assert (two.state, "a: is a folder of the tree" in two.why) == ("reviewed", True)
    assert publication.releases.count() == 1
    assert releases.lying() == ["a/b", "c"]
