"""Embargoes: nobody sees a release before its time, and mirrors hold it already."""

from __future__ import annotations

import hashlib
import signal
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection, transaction
from django.utils import timezone

from commonfarm.archive import folders, ports, publishing, tasks
from commonfarm.archive.models import Publication, Release, TreeAlias, TreeFile
from commonfarm.archive.releases import going_public, history, lifecycle, staging
from commonfarm.lib.config import Config
from commonfarm.lib.errors import BadInputError
from commonfarm.store.interface import blob_path
from tests.archive.releases import Releases, content
from tests.forked import run_script

SOON = timedelta(hours=1)


def embargoed(releases: Releases, files: dict[str, str], **aliases: str) -> Release:
    release = releases.reviewed(files, aliases)
    now = timezone.now()
    assert going_public.publish(release, now, who="user:bert", visible_from=now + SOON) is None
    return release


def over(release: Release) -> None:
    """Have the time of a release come."""
    Release.objects.filter(pk=release.pk).update(visible_from=timezone.now())
    release.refresh_from_db()


def staged(releases: Releases) -> dict[str, str]:
    return {
        path: what
        for path, what in content(folders.staging_folder(releases.tree)).items()
        if not path.startswith("manifest/")
    }


def test_nobody_sees_it_before_its_time(releases: Releases) -> None:
    releases.published({"v1/a": "a"}, {"latest": "v1"})
    token = lifecycle.close(releases.opened({"v2/x": "x"}), who="user:anna", now=timezone.now())
    release = Release.objects.get(number=2)
    lifecycle.review(release, ok=True, who="user:bert", now=timezone.now())
    assert lifecycle.by_link(token) == release
    later = timezone.now() + SOON
    going_public.publish(release, timezone.now(), who="user:bert", visible_from=later)
    assert lifecycle.by_link(token) is None
    assert going_public.reveal(releases.tree) == 0
    assert releases.work() == 1
    assert not TreeFile.objects.filter(path="v2/x").exists()
    assert not list(releases.seen.resolve().rglob("x"))
    over(release)
    assert going_public.reveal(releases.tree) == 1
    assert going_public.reveal(releases.tree) == 0
    release.refresh_from_db()
    assert release.state == "embargoed"
    assert releases.work() == 2
    release.refresh_from_db()
    assert release.state == "public"
    assert TreeFile.objects.get(path="v2/x").mirrors_from == release.visible_from
    assert releases.listed() == ["v1/a", "v2/x"]


def test_the_end_is_planned_and_looked_for_each_minute(releases: Releases) -> None:
    release = embargoed(releases, {"a": "a"})

    def planned() -> list[tuple[str, datetime]]:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT status, scheduled_at FROM procrastinate_jobs"
                " WHERE task_name = 'archive.reveal' ORDER BY id"
            )
            return list(cursor.fetchall())

    (status, at) = planned()[0]
    assert status == "todo"
    assert release.visible_from is not None
    assert abs(at - release.visible_from) < timedelta(seconds=5)
    going_public.publish(
        release, timezone.now(), who="user:bert", visible_from=timezone.now() + 2 * SOON
    )
    assert len(planned()) == 2
    # A worker whose clock is ahead finds nothing, and plans it again.
    going_public.reveal_tree(releases.tree.pk)
    assert Publication.objects.count() == 0
    over(release)
    going_public.reveal_tree(releases.tree.pk)
    assert Publication.objects.count() == 1
    tasks.sweep(0)
    assert Publication.objects.count() == 1


def test_it_may_be_published_at_once_or_taken_back(releases: Releases) -> None:
    first, second = embargoed(releases, {"a": "a"}), embargoed(releases, {"b": "b"})
    assert staging.stage(releases.tree)
    assert staged(releases).keys() == {"a", "b"}
    going_public.publish(first, timezone.now(), who="user:bert")
    going_public.withdraw(second, who="user:bert", why="not ready")
    assert second.state == "withdrawn"
    releases.work()
    assert releases.lying() == ["a"]
    assert staging.stage(releases.tree)
    assert staged(releases).keys() == {"a"}


def test_the_path_of_an_embargoed_release_is_taken(releases: Releases) -> None:
    embargoed(releases, {"a": "1"})
    other = releases.reviewed({"a": "2"})
    with pytest.raises(BadInputError, match="a: is in release:sugar/1 with other bytes"):
        going_public.publish(other, timezone.now(), who="user:bert")


def test_mirrors_find_the_tree_as_it_will_be(releases: Releases) -> None:
    releases.tree.changing = ["news"]
    releases.tree.save()
    releases.published({"v1/a": "a", "news": "old"}, {"latest": "v1"})
    assert not staging.stage(releases.tree)
    release = embargoed(releases, {"v2/b": "b", "news": "new"}, latest="v2")
    assert staging.stage(releases.tree)
    folder = folders.staging_folder(releases.tree)
    assert folder.parent.stat().st_mode & 0o007 == 0
    assert staged(releases).keys() == {"v1/a", "v2/b", "news", "latest"}
    assert (folder / "latest/b").read_text() == "b"
    assert (folder / "news").read_text() == "new"
    assert (folder / "v2/b").samefile(blob_path(hashlib.sha256(b"b").hexdigest()))
    releases.published({"v1/c": "c"})
    assert staging.stage(releases.tree)
    assert (folder / "v1/c").read_text() == "c"
    assert (folder / "news").read_text() == "new"
    over(release)
    going_public.reveal(releases.tree)
    before = staged(releases)
    releases.work()
    staging.stage(releases.tree)
    assert staged(releases) == before
    assert content(folder) == content(releases.seen)


def test_a_staging_folder_whose_note_is_lost_is_made_anew(releases: Releases) -> None:
    releases.published({"a": "a"})
    embargoed(releases, {"b": "b"})
    staging.stage(releases.tree)
    folder = folders.staging_folder(releases.tree)
    (folder / "stray").write_text("x")
    (folder.parent / ".sugar.json").write_text("{")
    staging.stage(releases.tree)
    assert staged(releases).keys() == {"a", "b"}


@pytest.mark.parametrize("cut", ["before", "after"])
def test_cut_off_while_it_is_staged_mirrors_are_told_once_it_is_there(
    releases: Releases, monkeypatch: pytest.MonkeyPatch, cut: str
) -> None:
    releases.published({"a": "a"})
    first = embargoed(releases, {"b": "b"})
    told: list[int] = []
    monkeypatch.setattr(ports.release_staged, "_filled_by", lambda _tree, pk: told.append(pk))
    staging.stage_tree(releases.tree.pk)
    assert told == [first.pk]
    second = embargoed(releases, {"c": "c"}, latest="c")
    real = folders.apply

    def die(folder: Path, change: folders.Change) -> None:
        if cut == "after":
            real(folder, change)
        raise KeyboardInterrupt

    with monkeypatch.context() as killed:
        killed.setattr(folders, "apply", die)
        with pytest.raises(KeyboardInterrupt):
            staging.stage_tree(releases.tree.pk)
    assert told == [first.pk]
    for _ in range(2):
        staging.stage_tree(releases.tree.pk)
        assert staged(releases).keys() == {"a", "b", "c", "latest"}
        assert told == [first.pk, second.pk]
    second.refresh_from_db()
    assert second.staged_at is not None
    going_public.withdraw(second, who="user:anna", why="no")
    with monkeypatch.context() as killed:
        killed.setattr(folders, "apply", die)
        with pytest.raises(KeyboardInterrupt):
            staging.stage_tree(releases.tree.pk)
    staging.stage_tree(releases.tree.pk)
    assert staged(releases).keys() == {"a", "b"}


@pytest.fixture
def committed(
    transactional_db: None,
    installation: Config,
    unsigned: None,
    published_calls: list[tuple[str, int]],
) -> Iterator[Releases]:
    yield Releases(installation)


KILLED = """
import os, signal, sys
import django
django.setup()
from commonfarm.archive import folders, ports, publishing, signing
from commonfarm.archive.releases import going_public, joining, rows, staging
from commonfarm.archive.models import Release
from commonfarm.estate.interface import ReleaseTree
from tests.archive.releases import unsigned_statement
ports.tree_published.fill(lambda tree, revision: None)
ports.rsync_users.fill(lambda: {})
signing.sign_publication = lambda _publication: []
signing.sign_manifest = unsigned_statement
publishing._wait_for_another_second = lambda publication: None
where, name, left = sys.argv[1], *sys.argv[2].split(":")
left = int(left)
module = globals()[where]
real = getattr(module, name)
def one_more(*arguments, **named):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*arguments, **named)
setattr(module, name, one_more)
tree = ReleaseTree.objects.get()
going_public.reveal(tree)
publishing.publish(tree)
staging.stage(tree)
"""


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("rows", "bring:0"),
        ("joining", "published:0"),
        ("folders", "_put:2"),
        ("folders", "_remove:0"),
        ("staging", "_write:1"),
    ],
)
def test_killed_anywhere_the_next_worker_ends_it_once(
    committed: Releases, where: str, what: str
) -> None:
    committed.published({"v1/a": "a"}, {"latest": "v1"})
    gone = committed.published({"bad": "bad"})
    for number in range(2):
        committed.published({f"n{number}": "n"})
    release = embargoed(committed, {"v2/b": "b"}, latest="v2")
    staging.stage(committed.tree)
    going_public.withdraw(gone, who="user:anna", why="bad", at_once=True)
    over(release)
    before = content(committed.seen)
    code, said = run_script(KILLED, where, what, config=committed.config.file)
    assert code == -signal.SIGKILL, said
    if where != "staging" and where != "joining":
        assert content(committed.seen) == before
    going_public.reveal(committed.tree)
    assert committed.work() == 5
    staging.stage(committed.tree)
    release.refresh_from_db()
    gone.refresh_from_db()
    assert (release.state, gone.state) == ("public", "withdrawn")
    assert committed.lying() == ["latest", "n0", "n1", "v1/a", "v2/b"]
    assert content(folders.staging_folder(committed.tree)) == content(committed.seen)
    assert TreeFile.objects.filter(path="v2/b").count() == 1
    assert TreeAlias.objects.filter(path="latest", until_revision=None).count() == 1


def test_two_publishers_at_once_publish_once(committed: Releases) -> None:
    release = committed.reviewed({"a": "a"})
    errors: list[BaseException] = []
    failed: list[BaseException] = []
    begin = threading.Barrier(3)

    def work() -> None:
        begin.wait()
        try:
            going_public.publish(release, timezone.now(), who="user:bert")
        except Exception as error:
            errors.append(error)
        try:
            publishing.publish(committed.tree)
        except Exception as error:
            failed.append(error)
        connection.close()

    threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not failed
    assert len(errors) == 2
    assert all("published" in str(error) or "public" in str(error) for error in errors)
    assert committed.work() == 1
    assert committed.lying() == ["a"]


def test_what_refers_to_a_locked_tree_can_be_added_meanwhile(committed: Releases) -> None:
    committed.published({"a": "a"})
    errors: list[BaseException] = []

    def add() -> None:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '5s'")
                TreeAlias.objects.create(
                    tree=committed.tree, path="latest", target="a", since_revision=1
                )
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    adder = threading.Thread(target=add)
    with transaction.atomic():
        type(committed.tree).locked(committed.tree.pk)
        adder.start()
        adder.join(60)
    assert not errors


def test_a_full_disk_is_waited_for(committed: Releases, monkeypatch: pytest.MonkeyPatch) -> None:
    committed.published({"a": "a"})
    release = committed.reviewed({"v/b": "b", "v/c": "c"})
    going_public.publish(release, timezone.now(), who="user:bert")
    real, left = folders._put, [1]

    def put(source: Path, target: Path) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(source, target)

    with monkeypatch.context() as full:
        full.setattr(folders, "_put", put)
        publishing.publish(committed.tree)
    waiting = Publication.objects.get(revision=2)
    assert waiting.state == "signed"
    assert "full" in waiting.problem
    assert committed.lying() == ["a"]
    assert committed.work() == 2
    assert committed.lying() == ["a", "v/b", "v/c"]


def test_what_differs_is_told(releases: Releases) -> None:
    releases.tree.changing = ["news"]
    releases.tree.save()
    releases.published({"a": "a", "news": "1"}, {"latest": "a"})
    second = releases.reviewed({"b": "bb", "news": "222", "a": "a"}, {"latest": "b"})
    expected = history.Difference(
        new=["b"],
        gone=[],
        changed=["news"],
        aliases={"latest": ("a", "b")},
        bytes_new=5,
        bytes_gone=1,
    )
    assert history.of_release(second) == expected
    going_public.publish(second, timezone.now(), who="user:bert")
    releases.work()
    there = history.between_revisions(releases.tree, 1, 2)
    without = [path for path in there.new if not path.startswith("manifest/")]
    assert (without, there.aliases) == (["b"], expected.aliases)
    assert "news" in there.changed
    back = history.between_revisions(releases.tree, 2, 1)
    assert (back.gone, back.new) == (there.new, [])
    assert not history.between_revisions(releases.tree, 2, 2)
    assert history.of_release(second).new == []
    assert [one.revision for one in history.revisions(releases.tree)] == [2, 1]
    with transaction.atomic():
        assert history.was_seen(releases.tree, 2)
