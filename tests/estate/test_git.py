"""A repository of others is fetched and read, and does nothing to us."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from commonfarm.estate import git
from commonfarm.estate.git import Clone, check_branch, check_folder, scheme_of
from commonfarm.lib.errors import BadInputError, RefusedError, UnreachableError
from tests.estate.repositories import Repository


@pytest.fixture
def upstream(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "upstream")


@pytest.fixture
def clone(upstream: Repository, tmp_path: Path) -> Clone:
    (tmp_path / "home").mkdir()
    return Clone(tmp_path / "home", upstream.url, "main")


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        ("https://git.example.org/infra/estate.git", "https"),
        ("https://git.example.org:8443/estate", "https"),
        ("ssh://git@git.example.org/estate.git", "ssh"),
        ("git@git.example.org:infra/estate.git", "ssh"),
        ("file:///srv/estate.git", "file"),
    ],
)
def test_addresses_that_are_followed(url: str, scheme: str) -> None:
    assert scheme_of(url) == scheme


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ext::sh -c touch% /tmp/x",
        "ext::sh",
        "http://git.example.org/estate",
        "git://git.example.org/estate",
        "ftp://git.example.org/estate",
        "/srv/estate",
        "../estate",
        "--upload-pack=touch x",
        "-oProxyCommand=x@host:path",
        "ssh://-oProxyCommand=x/path",
        "ssh://-l@host/path",
        "file://host/path",
        "https://anna:secret@git.example.org/estate",
        "https://token@git.example.org/estate",
        "ssh://git:secret@git.example.org/estate",
        "ssh://git%3Asecret@git.example.org/estate",
        "https://git.example.org/estate?private_token=secret",
        "https://git.example.org/estate#secret",
        "https://git.example.org/a b",
        "https://git.example.org/a\nb",
        "git@host:-path",
    ],
)
def test_addresses_that_are_not(url: str) -> None:
    with pytest.raises(BadInputError):
        scheme_of(url)


@pytest.mark.parametrize(
    "branch",
    ["", "-x", "a..b", "a//b", "/a", "a/", "a.lock", "a.", ".a", "a b", "a:b", "@{1}", "^a"],
)
def test_what_is_no_branch(branch: str) -> None:
    with pytest.raises(BadInputError):
        check_branch(branch)
    check_branch("release/2026.1")


@pytest.mark.parametrize(
    "folder", ["/", "/a", "a/", "..", "a/../b", "-a", ":a", "a b", ".git", "a:b"]
)
def test_what_is_no_folder(folder: str) -> None:
    with pytest.raises(BadInputError):
        check_folder(folder)
    check_folder("")
    check_folder("infrastructure/estate")


def test_files_are_read_as_they_were_committed(upstream: Repository, clone: Clone) -> None:
    upstream.commit({"estate/a.yaml": "a: 1\n", "estate/empty.yaml": "", "estate/sub/b": "no"})
    (upstream.path / "estate/link.yaml").symlink_to("/etc/passwd")
    tip = upstream.commit({"estate/z.svg": b"\0\xff"}, "Add a logo")
    assert clone.fetch() == tip
    found = clone.entries(tip, "estate")
    assert [(one.name, one.plain, one.size) for one in found] == [
        ("a.yaml", True, 5),
        ("empty.yaml", True, 0),
        ("link.yaml", False, 0),
        ("sub", False, 0),
        ("z.svg", True, 2),
    ]
    assert list(clone.read(found)) == [b"a: 1\n", b"", b"\0\xff"]
    assert [one.name for one in clone.entries(tip, "")] == ["estate"]
    with pytest.raises(BadInputError, match="estat: is no folder of commit"):
        clone.entries(tip, "estat")
    assert not (clone.path / "index").exists(), "nothing is checked out"


def test_commits_are_told_as_their_authors_do(upstream: Repository, clone: Clone) -> None:
    first = upstream.commit({"a": "1"}, "First")
    upstream.commit({"a": "2"}, "A \x1b[31mred\x07 one")
    tip = upstream.commit({"a": "3"}, "x" * 500)
    clone.fetch()
    newest, before = clone.newest(tip, first)
    assert (newest.id, newest.author, newest.subject) == (tip, "Anna", "x" * 200)
    assert before.subject == "A ?[31mred? one"
    assert newest.at.isoformat() == "2026-01-15T12:00:00+00:00"
    assert [one.id for one in clone.newest(tip)] == [tip]


def test_a_branch_that_was_rewritten_is_seen(upstream: Repository, clone: Clone) -> None:
    first = upstream.commit({"a": "1"})
    second = upstream.commit({"a": "2"})
    assert clone.fetch() == second
    assert clone.descends(second, first)
    assert clone.descends(second, second)
    upstream.git("reset", "--quiet", "--hard", first)
    other = upstream.commit({"a": "3"}, "Another")
    assert clone.fetch() == other
    assert not clone.descends(other, second)
    assert not clone.descends(other, "0" * 40)


def test_a_branch_that_is_not_there_is_told_with_those_that_are(
    upstream: Repository, tmp_path: Path, clone: Clone
) -> None:
    upstream.commit({"a": "1"})
    with pytest.raises(
        BadInputError, match=r"mian: file:.* has no branch mian; did you mean `main`"
    ):
        Clone(clone.home, upstream.url, "mian").fetch()


def test_what_cannot_be_reached_is_told_in_gits_words(tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="does not appear to be a git repository"):
        Clone(tmp_path, f"file://{tmp_path}/none", "main").fetch()
    with pytest.raises(UnreachableError, match=r"git fetch: .*(refused|cannot run)"):
        Clone(tmp_path, "ssh://git@127.0.0.1:1/estate", "main").fetch()


def test_what_is_too_large_is_not_taken(
    upstream: Repository, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.commit({"random": os.urandom(1_500_000)})
    small = ("prlimit", "--fsize=1000000", "--")
    monkeypatch.setattr(git, "_LIMITS", small)
    with pytest.raises(RefusedError, match="MiB; keep the estate in a smaller one"):
        clone.fetch()
    with pytest.raises(RefusedError):
        clone.fetch()
    assert len(list(clone.path.glob("objects/**/tmp_*"))) <= 1, "they do not pile up"


def test_what_takes_too_long_is_ended_with_its_children(
    upstream: Repository, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.commit({"a": "1"})
    monkeypatch.setattr(git, "MOST_SECONDS", 0.0)
    with pytest.raises(UnreachableError, match="took more than 0 seconds"):
        clone.fetch()
    left = subprocess.run(["pgrep", "-f", str(clone.home)], capture_output=True, check=False)
    assert left.stdout == b""


def test_hooks_and_settings_of_the_other_side_do_nothing(
    upstream: Repository, clone: Clone, tmp_path: Path
) -> None:
    mark = tmp_path / "was-here"
    upstream.commit({".gitattributes": "* filter=x\n", ".lfsconfig": "[lfs]\n", "a.yaml": "a: 1\n"})
    for name in ("post-checkout", "pre-receive", "reference-transaction", "post-merge"):
        hook = upstream.path / ".git/hooks" / name
        hook.write_text(f"#!/bin/sh\ntouch {mark}\n")
        hook.chmod(0o755)
    upstream.git("config", "uploadpack.packObjectsHook", f"touch {mark}; false")
    upstream.git("config", "core.fsmonitor", f"touch {mark}")
    tip = clone.fetch()
    assert list(clone.read(clone.entries(tip, "")))
    assert not mark.exists()


def test_another_address_leaves_nothing_of_the_first(upstream: Repository, tmp_path: Path) -> None:
    other = Repository(tmp_path / "other")
    upstream.commit({"a": "1"})
    tip = other.commit({"b": "1"})
    first, second = (Clone(tmp_path, one.url, "main") for one in (upstream, other))
    first.fetch()
    assert second.fetch() == tip
    assert not first.path.exists()


def test_what_a_kill_left_is_cleared_away(upstream: Repository, clone: Clone) -> None:
    upstream.commit({"a": "1"})
    clone.path.mkdir()
    (clone.path / "config.lock").touch()
    clone.fetch()
    for left in ("shallow.lock", "refs/commonfarm/fetched.lock", "objects/pack/tmp_pack_x"):
        (clone.path / left).touch()
    tip = upstream.commit({"a": "2"})
    assert clone.fetch() == tip


def test_a_damaged_clone_is_made_anew(upstream: Repository, clone: Clone) -> None:
    upstream.commit({"a": "1"})
    clone.fetch()
    for file in clone.path.glob("objects/??/*"):
        file.chmod(0o600)
        file.write_bytes(b"")
    tip = upstream.commit({"a": "2"})
    assert clone.fetch() == tip
    assert list(clone.read(clone.entries(tip, ""))) == [b"2"]


def test_a_damaged_clone_leaves_a_repository_above_it_alone(
    upstream: Repository, clone: Clone, tmp_path: Path
) -> None:
    above = Repository(tmp_path / "x")
    (above.path / ".git").rename(tmp_path / ".git")
    upstream.commit({"a": "1"})
    clone.fetch()
    shutil.rmtree(clone.path / "objects")
    tip = upstream.commit({"a": "2"})
    assert clone.fetch() == tip
    assert list(clone.read(clone.entries(tip, ""))) == [b"2"]
    assert not (tmp_path / ".git/refs/commonfarm").exists()


@pytest.mark.parametrize(
    ("committer", "year"),
    [
        (b"committer Anna <a@example.org> 1768478400 +0000\n", 2026),
        (b"committer Anna <a@example.org> 99999999999999999999999 +0000\n", 9999),
        (b"committer Anna <a@example.org> yesterday\n", 1970),
        (b"committer \x1f\xff\n", 1970),
        (b"", 1970),
    ],
)
def test_a_commit_that_git_would_not_make_is_read_too(
    upstream: Repository, clone: Clone, committer: bytes, year: int
) -> None:
    upstream.commit({"a": "1"})
    tree = upstream.git("rev-parse", "HEAD^{tree}").encode()
    text = b"tree " + tree + b"\nauthor A\x1fB <a> 5 +0000\n" + committer + b"\nsub\x1fject\n"
    (upstream.path / "commit").write_bytes(text)
    made = upstream.git("hash-object", "-t", "commit", "-w", "--literally", "commit")
    upstream.git("update-ref", "refs/heads/main", made)
    (commit,) = clone.newest(clone.fetch())
    assert (commit.id, commit.at.year) == (made, year)
    assert (commit.author + commit.subject).isprintable()


def test_a_folder_of_very_many_files_is_told(
    upstream: Repository, clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(git, "MOST_ENTRIES", 2)
    upstream.commit(dict.fromkeys("abc", "1"))
    with pytest.raises(BadInputError, match="main: has 3 files in one folder"):
        clone.entries(clone.fetch(), "")


@pytest.mark.root
def test_a_repository_of_another_user_of_this_machine_is_read(
    upstream: Repository, clone: Clone
) -> None:
    tip = upstream.commit({"a": "1"})
    for path in [upstream.path, *upstream.path.rglob("*")]:
        os.chown(path, 65534, 65534)
    assert clone.fetch() == tip
