"""A git repository of others, kept as a bare clone and read without ever being checked out.

What is fetched is hostile until read: no hook, no submodule, no symlink and no setting of the
repository takes effect, size and time are bounded, and nobody is asked for a password. Only this
folder's own settings count: `ssh/id` and `ssh/known_hosts` for ssh, `.netrc` for https. No Django.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError, UnreachableError
from commonfarm.lib.hints import hint
from commonfarm.lib.terminal import harmless

MOST_PACK_BYTES = 256 * 2**20
MOST_MEMORY_BYTES = 2 * 2**30
MOST_SECONDS = 120.0
MOST_PRINTED_BYTES = 128 * 2**20
MOST_NAMED = 50
MOST_COMPARED = 1000
MOST_ENTRIES = 20_000
LONGEST_LINE = 200

_FETCHED = "refs/commonfarm/fetched"
_URL = re.compile(r"(https|ssh|file)://[!-~]+")
_SCP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*@[A-Za-z0-9][A-Za-z0-9.-]*:[A-Za-z0-9~_./][!-~]*")
_BRANCH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*(/[A-Za-z0-9_][A-Za-z0-9_.+-]*)*")
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_PLAIN_FILE = ("100644", "100755")
_LIMITS = (
    "prlimit",
    f"--fsize={MOST_PACK_BYTES}",
    f"--as={MOST_MEMORY_BYTES}",
    f"--cpu={int(MOST_SECONDS)}",
    *("--", "setpriv", "--pdeathsig=KILL", "--"),
)
_KEPT = ("PATH", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY")
_SETTINGS = """\
[core]
	hooksPath = /dev/null
[gc]
	autoDetach = false
[safe]
	directory = *
"""
"""Who may follow a repository has named it; whose it is on this disk does not matter."""


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit as its author tells of it; `subject` is the first line of its message."""

    id: str
    author: str
    at: datetime
    subject: str

    def as_json(self) -> dict[str, str]:
        """Return it as plain values."""
        return {**asdict(self), "at": self.at.isoformat()}


@dataclass(frozen=True, slots=True)
class Entry:
    """What lies under a name in a folder of a commit; `size` in bytes, 0 for what is no file."""

    name: str
    plain: bool
    id: str
    size: int


def scheme_of(url: str) -> str:
    """Return how `url` is reached: `https`, `ssh` or `file`; raise BadInputError for all else."""

    def wrong(what: str, to_do: str) -> BadInputError:
        return BadInputError(Problem(harmless(url[:200]), 0, 0, what, to_do))

    if _SCP.fullmatch(url):
        return "ssh"
    found = _URL.fullmatch(url)
    local = url.startswith("file://")
    if found is None or (local and not url.startswith("file:///")):
        to_do = "write https://HOST/PATH, ssh://USER@HOST/PATH, or file:///PATH on this machine"
        raise wrong("is no address of a repository that is followed", to_do)
    place = url.split("/")[2]
    user = place.rpartition("@")[0]
    if place.startswith("-") or user.startswith("-"):
        raise wrong("begins like an option", "write the name of a host")
    if ":" in user or (user and found[1] == "https"):
        to_do = "leave it away; how-to/follow-a-repository.md says where a password goes"
        raise wrong("has a password or user in it, which others would see", to_do)
    if "?" in url or "#" in url or "%" in user:
        raise wrong("has more in it than a path, which others would see", "leave that away")
    return found[1]


def check_branch(branch: str) -> None:
    """Raise BadInputError for what can be no branch."""
    parts = branch.split("/")
    if (
        not _BRANCH.fullmatch(branch)
        or len(branch) > LONGEST_LINE
        or ".." in branch
        or any(part.endswith((".lock", ".")) for part in parts)
    ):
        what = "is not the name of a branch"
        raise BadInputError(Problem(harmless(branch[:200]), 0, 0, what, "write it like `main`"))


def check_folder(folder: str) -> None:
    """Raise BadInputError for what can be no folder within a repository; empty is the whole."""
    parts = folder.split("/") if folder else []
    if len(folder) > LONGEST_LINE or any(not _PART.fullmatch(part) for part in parts):
        to_do = "write its path from the repository's root, such as `infrastructure/estate`"
        raise BadInputError(Problem(harmless(folder[:200]), 0, 0, "is no folder in it", to_do))


@dataclass(frozen=True, slots=True)
class Clone:
    """The bare clone of one branch of `url`, below `home`. One process at a time may fetch."""

    home: Path
    url: str
    branch: str

    @property
    def path(self) -> Path:
        """Where the clone lies."""
        return self.home / f"{sha256(self.url.encode()).hexdigest()[:16]}.git"

    def fetch(self) -> str:
        """Fetch the branch and return its newest commit's id.

        Raises UnreachableError where it cannot be had now, RefusedError where it is too large,
        BadInputError where there is no such branch.
        """
        self._prepare()
        try:
            self._fetch()
        except UnreachableError as error:
            if "couldn't find remote ref" in error.reason.text:
                raise self._no_branch() from None
            if error.reason.code != "repository-not-read" or not self._answers():
                raise
            # What is wrong is here, as after a disk that was full: it is fetched anew as a whole.
            self.forget()
            self._prepare()
            self._fetch()
        return self._git("rev-parse", "--verify", _FETCHED).decode("ascii").strip()

    def descends(self, commit: str, from_commit: str) -> bool:
        """Say whether `from_commit` is part of the history of `commit`."""
        try:
            self._git("merge-base", "--is-ancestor", from_commit, commit)
        except UnreachableError as error:
            if error.reason.code != "repository-not-read":
                raise
            return False
        return True

    def newest(self, commit: str, after: str = "") -> list[Commit]:
        """Return `commit` and those before it, newest first; only what is not part of `after`.

        At most MOST_NAMED; without `after` only the commit itself.
        """
        most = MOST_NAMED if after else 1
        shape = "--format=%H%x1f%ct%x1f%an%x1f%s"
        revisions = (commit, f"^{after}") if after else (commit,)
        said = self._git("log", "-z", f"--max-count={most}", shape, *revisions, "--")
        lines = said.decode("utf-8", "replace").split("\0")
        return [_commit(line) for line in lines if line]

    def entries(self, commit: str, folder: str) -> list[Entry]:
        """Return what lies in `folder` of `commit`, by name; raise BadInputError without one."""
        try:
            said = self._git("ls-tree", "-z", "--long", f"{commit}:{folder}")
        except UnreachableError:
            what = f"is no folder of commit {commit[:12]}"
            to_do = "name the folder of the YAML files with --folder"
            raise BadInputError(Problem(folder, 0, 0, what, to_do)) from None
        many = said.count(b"\0")
        if many > MOST_ENTRIES:
            what = f"has {many} files in one folder"
            to_do = f"keep the estate in one with at most {MOST_ENTRIES}"
            raise BadInputError(Problem(folder or self.branch, 0, 0, what, to_do))
        return [_entry(line) for line in said.split(b"\0") if line]

    def read(self, entries: Iterable[Entry]) -> Iterator[bytes]:
        """Yield the bytes of plain files, in their order."""
        wanted = [entry for entry in entries if entry.plain]
        given = "".join(f"{entry.id}\n" for entry in wanted).encode()
        said = self._git("cat-file", "--batch", given=given)
        for entry in wanted:
            end = said.index(b"\n") + 1 + entry.size
            yield said[end - entry.size : end]
            said = said[end + 1 :]

    def forget(self) -> None:
        """Remove the clone: the next fetch makes it anew."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _fetch(self) -> None:
        fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--refmap=")
        ref = f"+refs/heads/{self.branch}:{_FETCHED}"
        self._git(*fetch, "--no-recurse-submodules", "--", self.url, ref)

    def _answers(self) -> bool:
        try:
            self._git("ls-remote", "--heads", "--", self.url)
        except UnreachableError:
            return False
        return True

    def _prepare(self) -> None:
        """Make the clone where there is none, and remove what is left of others, or of kills."""
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        (self.home / "gitconfig").write_text(_SETTINGS, encoding="ascii")
        for other in self.home.glob("*.git"):
            if other != self.path:
                shutil.rmtree(other)
        for left in self.path.glob("objects/**/tmp_*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        for lock in self.path.glob("**/*.lock"):
            lock.unlink()
        if not (self.path / "HEAD").is_file():
            self.forget()
            self.path.mkdir()
            self._git("init", "--quiet", "--bare", "--template=", ".")

    def _no_branch(self) -> BadInputError:
        said = self._git("ls-remote", "--heads", "--", self.url).decode("utf-8", "replace")
        # Of very many the first are compared: to look for what was meant takes time.
        names = [line.partition("refs/heads/")[2] for line in said.splitlines()[:MOST_COMPARED]]
        there = hint(self.branch, [harmless(name) for name in names])
        to_do = there or "push it first"
        what = f"{self.url} has no branch {self.branch}"
        return BadInputError(Problem(self.branch, 0, 0, what, to_do))

    def _git(self, *command: str, given: bytes = b"") -> bytes:
        """Run git in the clone and return what it printed; raise UnreachableError with its words.

        What it prints goes through files, whose size the limits bound.
        """
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*_LIMITS, "git", "-C", str(self.path), *command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=errors,
                env=self._environment(),
                start_new_session=True,
            )
            try:
                process.communicate(given, timeout=MOST_SECONDS)
            except subprocess.TimeoutExpired:
                raise UnreachableError(
                    Reason(
                        "repository-too-slow",
                        f"git {command[0]} of {self.url} took more than {MOST_SECONDS:.0f} seconds",
                        "look at the network, and at how large the repository is",
                    )
                ) from None
            finally:
                _end(process)
            output.seek(0)
            if process.returncode == 0 and output.seek(0, os.SEEK_END) <= MOST_PRINTED_BYTES:
                output.seek(0)
                return output.read()
            errors.seek(0)
            said = errors.read(8192).decode("utf-8", "replace")
        raise self._failed(command[0], process.returncode, said)

    def _failed(self, verb: str, code: int, said: str) -> UnreachableError | RefusedError:
        if code == 0 or f"signal {signal.SIGXFSZ.value}" in said:
            most = (MOST_PRINTED_BYTES if code == 0 else MOST_PACK_BYTES) // 2**20
            what = "the estate in" if code == 0 else "the repository"
            text = f"{what} {self.url} has more than {most} MiB"
            to_do = "keep the estate in a smaller one"
            return RefusedError(Reason("repository-too-large", text, to_do))
        lines = [line.strip() for line in said.splitlines() if line.strip()]
        told = [line for line in lines if line.startswith(("fatal:", "error:", "ssh:"))] or lines
        why = (
            "; ".join(harmless(line[:LONGEST_LINE]) for line in told[:3]) or f"it ended with {code}"
        )
        to_do = "look at its address, and whether this machine may read it"
        return UnreachableError(Reason("repository-not-read", f"git {verb}: {why}", to_do))

    def _environment(self) -> dict[str, str]:
        ssh = [
            *("ssh", "-F", "none"),
            *("-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "IdentitiesOnly=yes"),
            *("-o", "StrictHostKeyChecking=yes", "-o", f"IdentityFile={self.home / 'ssh' / 'id'}"),
            *("-o", f"UserKnownHostsFile={self.home / 'ssh' / 'known_hosts'}"),
        ]
        return {key: os.environ[key] for key in _KEPT if key in os.environ} | {
            "HOME": str(self.home),
            # A clone that is damaged is no reason to write into a repository above it.
            "GIT_CEILING_DIRECTORIES": str(self.home.resolve()),
            "LC_ALL": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": str(self.home / "gitconfig"),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_ALLOW_PROTOCOL": scheme_of(self.url),
            "GIT_SSH_COMMAND": shlex.join(ssh),
            "GIT_SSH_VARIANT": "ssh",
        }


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _commit(line: str) -> Commit:
    commit, seconds, author, subject = line.split("\x1f", 3)
    assert _COMMIT.fullmatch(commit)
    # What an author's clock says may be no time at all, or too late a one for us.
    since = int(seconds) if seconds.isdecimal() and len(seconds) < 30 else 0
    at = datetime.fromtimestamp(min(since, 253402300799), UTC)
    return Commit(commit, _one_line(author), at, _one_line(subject))


def _one_line(text: str) -> str:
    return harmless(" ".join(text.split())[:LONGEST_LINE])


def _entry(line: bytes) -> Entry:
    about, _, name = line.partition(b"\t")
    mode, _, commit, size = about.decode("ascii").split()
    plain = mode in _PLAIN_FILE
    return Entry(name.decode("utf-8", "replace"), plain, commit, int(size) if plain else 0)
