"""A branch is followed: its newest commit is in force, or it is told why not."""

from __future__ import annotations

import errno
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from django.test import Client

from commonfarm.accounts.interface import Role, User
from commonfarm.estate.following import follow
from commonfarm.estate.models import Load
from commonfarm.estate.yaml_nodes import MOST_BYTES
from commonfarm.journal.models import Entry
from tests.estate.following.helpers import ONE, Clock, current, events, refused, start
from tests.estate.repositories import Repository

pytestmark = pytest.mark.django_db


def test_the_newest_commit_is_in_force(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    first = next_minute()
    assert first is not None
    assert (first.title, first.author, first.who) == (
        "Describe the anvil",
        "Anna",
        "process:worker",
    )
    assert first.changes == ["host anvil: new"]
    assert first.origin == f"{upstream.url} (main)"
    assert next_minute() is None
    passed = upstream.commit({"estate.yaml": ONE.replace("24", "32")}, "More memory")
    tip = upstream.commit({"estate.yaml": ONE.replace("24", "48")}, "Even more memory")
    second = next_minute()
    assert second is not None
    assert (second.commit, second.changes) == (tip, ["host anvil: memory is 48 GiB, was 24 GiB"])
    assert [(one["id"], one["subject"]) for one in second.passed] == [(passed, "More memory")]
    assert current().tip == tip
    assert [one["commit"] for one in events("estate loaded")] == [first.commit, tip]


def test_it_is_not_fetched_all_the_time(upstream: Repository, clock: Clock) -> None:
    start(upstream, clock)
    assert follow(clock) is not None
    upstream.commit({"estate.yaml": ONE.replace("24", "48")})
    clock.later(seconds=15)
    assert follow(clock) is None
    clock.later(seconds=15)
    assert follow(clock) is not None


def test_a_commit_with_faults_leaves_the_estate_in_force(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    good = next_minute()
    bad = upstream.commit({"estate.yaml": ONE.replace("24 GiB", "24 GB/s")}, "Break it")
    assert next_minute() is None
    assert next_minute() is None
    following = current()
    assert good is not None
    assert following.tip == good.commit
    assert (refused()["commit"], refused()["title"]) == (bad, "Break it")
    (problem,) = refused()["problems"]
    assert (problem["file"], problem["line"]) == ("estate.yaml", 2)
    (event,) = events("estate not loaded")
    assert event["commit"] == bad
    assert event["problems"][0].startswith("estate.yaml:2:"), "told once, with its place"
    told = Entry.objects.get(what="estate not loaded").why
    assert told == f"commit {bad[:12]}: {event['problems'][0]}"
    mended = upstream.commit({"estate.yaml": ONE.replace("24", "48")}, "Mend it")
    load = next_minute()
    assert load is not None
    assert (load.commit, [one["subject"] for one in load.passed]) == (mended, ["Break it"])
    assert current().refused is None


def test_of_very_many_changes_and_faults_the_first_are_told(
    upstream: Repository,
    clock: Clock,
    next_minute: Callable[[], Load | None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("commonfarm.estate.load.MOST_CHANGES", 2)
    monkeypatch.setattr("commonfarm.estate.following.MOST_PROBLEMS", 2)
    many = [f"  - {{name: h{n}, architecture: {'amd64' if n % 2 else 'arm64'}}}" for n in range(4)]
    upstream.commit({"estate.yaml": "\n".join(["pools: []", *ONE.splitlines(), *many, ""])})
    start(upstream, clock)
    load = next_minute()
    assert load is not None and load.changes == ["host anvil, h0 and 3 more: new"]
    wrong = [f"  - {{name: h{n}, architecture: amd64, memory: {n} GiB}}" for n in range(1, 5)]
    upstream.commit({"estate.yaml": "\n".join([*ONE.splitlines(), *wrong, ""])})
    again = next_minute()
    assert again is not None and (len(again.changes), again.changes[2][:4]) == (3, "and ")
    upstream.commit({"estate.yaml": "\n".join([*ONE.splitlines(), *["  - {nmae: x}"] * 4, ""])})
    assert next_minute() is None
    assert [one["what"] for one in refused()["problems"]][2].endswith("more faults follow")


def test_a_branch_that_was_rewritten_is_told_and_taken_when_it_is_followed_anew(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    second = upstream.commit({"estate.yaml": ONE.replace("24", "48")})
    next_minute()
    upstream.git("reset", "--quiet", "--hard", "HEAD^")
    other = upstream.commit({"estate.yaml": ONE.replace("24", "96")})
    assert next_minute() is None
    (problem,) = refused()["problems"]
    assert problem["what"] == (
        f"was rewritten: commit {other[:12]} is no descendant of {second[:12]}, which is in force"
    )
    assert problem["to_do"].endswith(f"commonfarm estate follow {upstream.url} --branch main")
    start(upstream, clock)
    load = next_minute()
    assert load is not None
    assert (load.commit, load.passed) == (other, [])
    assert current().refused is None


def test_what_changes_no_file_of_the_estate_is_no_load(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    next_minute()
    tip = upstream.commit({"README": "not ours"}, "Say more")
    next_minute()
    assert Load.objects.count() == 1
    assert current().tip == tip
    signed_in = Client()
    signed_in.force_login(User.add("ben", Role.READER, who="test"))
    page = signed_in.get("/estate/").content.decode()
    assert f"{tip[:12]}</code> no commit changed it" in page
    assert "The estate names no pledges." in page


def test_the_estate_may_lie_in_a_folder(
    tmp_path: Path, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    upstream = Repository(tmp_path / "whole", branch="trunk")
    upstream.commit({"infra/estate/a.yaml": ONE, "other.yaml": "a: [", "infra/b.yaml": "b: ["})
    start(upstream, clock, "trunk", "infra/estate")
    load = next_minute()
    assert load is not None
    assert load.changes == ["host anvil: new"]
    assert load.origin == f"{upstream.url} (trunk, infra/estate)"
    start(upstream, clock, "trunk", "infra/nothing")
    next_minute()
    assert "is no folder of commit" in refused()["problems"][0]["what"]


def test_links_and_large_files_are_no_part_of_it(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    (upstream.path / "hosts.yaml").symlink_to("/etc/passwd")
    upstream.commit({"large.yaml": "# " + "x" * MOST_BYTES + "\n", ".hidden.yaml": "a: ["})
    start(upstream, clock)
    assert next_minute() is None
    problems = refused()["problems"]
    assert [one["file"] for one in problems] == ["hosts.yaml", "large.yaml"]
    assert "not a plain file" in problems[0]["what"]


@pytest.mark.parametrize("name", ["a\x1b[31m.yaml", "x" * 300 + ".yaml", "a\n.yml"])
def test_a_file_with_a_hostile_name_is_told(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None], name: str
) -> None:
    (upstream.path / "tree").write_text(
        f"100644 blob {upstream.git('rev-parse', 'HEAD:estate.yaml')}\t{name}\0"
    )
    with (upstream.path / "tree").open() as listed:
        tree = subprocess.run(
            ["git", "-C", str(upstream.path), "mktree", "-z"],
            stdin=listed,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
    upstream.git("update-ref", "refs/heads/main", upstream.git("commit-tree", tree, "-m", "x"))
    start(upstream, clock)
    assert next_minute() is None
    (problem,) = refused()["problems"]
    assert problem["file"].isprintable()
    assert "its name is longer than 100 or has characters" in problem["what"]


def test_a_commit_over_which_we_stumble_is_told_and_the_next_one_is_loaded(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    with mock.patch("commonfarm.estate.load.prepare", side_effect=RecursionError):
        assert next_minute() is None
    assert "a fault of ours" in refused()["problems"][0]["what"]
    upstream.commit({"estate.yaml": ONE.replace("24", "48")})
    assert next_minute() is not None
    assert current().refused is None


def test_a_disk_that_is_full_is_told(
    upstream: Repository, clock: Clock, next_minute: Callable[[], Load | None]
) -> None:
    start(upstream, clock)
    full = OSError(errno.ENOSPC, "No space left on device")
    with mock.patch("commonfarm.estate.git.Clone.fetch", side_effect=full):
        assert next_minute() is None
    assert "cannot be written: No space left on device" in str(current().problem)
