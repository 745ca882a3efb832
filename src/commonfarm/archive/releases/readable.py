"""Whether those who serve files can read them: judged by modes and owners, all faults at once.

Of an application tree every file must be readable by all, since web servers and mirrors run as
other users than who put it there, and mirrors copy modes along. The folders above a published tree
need only let our own readers through.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from commonfarm.archive.models import Release
from commonfarm.archive.releases import checking, rules
from commonfarm.archive.releases.rules import shown_path
from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.store.interface import blob_path

OURS = "commonfarm-"
"""How the system users of our processes are called, where each has one of its own."""
READERS = ("redirector", "rsyncd")


@dataclass(frozen=True, slots=True)
class Reader:
    """Who has to read: a user and its groups."""

    name: str
    uid: int
    groups: frozenset[int]

    def may(self, status: os.stat_result, wanted: int) -> bool:
        """Say whether mode and owner give it all of `wanted`: 4 to read, 1 to pass through."""
        if self.uid == 0:
            return True
        shift = 6 if status.st_uid == self.uid else 3 if status.st_gid in self.groups else 0
        return (status.st_mode >> shift) & wanted == wanted


@dataclass(frozen=True, slots=True)
class Found:
    """Something in a folder: its path below it, what it is, and what a link says."""

    path: bytes
    status: os.stat_result
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Listing:
    """A folder that may become a release: its files with their sizes, its links with their text."""

    files: dict[str, int]
    aliases: dict[str, str]


def check_folder(root: Path) -> Listing:
    """Judge an application tree, and return what is in it; BadInputError has all its faults.

    Refused are sockets, devices and pipes, what not everybody may read, what belongs to a user that
    this machine does not know, links that leave the tree, dangle or loop, names that are not UTF-8
    or have control characters, a root that is a link, and more files than a release may have.
    """
    problems = root_problems(root)
    if problems:
        raise BadInputError(*problems)
    files: dict[str, int] = {}
    texts: dict[str, str] = {}
    unreadable: list[Problem] = []
    known = _users_known()
    for found in walk(root, unreadable):
        place = root / os.fsdecode(found.path)
        problems += entry_problems(found, str(place), known)
        path = os.fsdecode(found.path)
        if stat.S_ISDIR(found.status.st_mode):
            continue
        if (problem := rules.path_problem(path)) is not None:
            problems.append(problem)
        elif stat.S_ISLNK(found.status.st_mode):
            texts[path] = os.fsdecode(found.text)
        elif stat.S_ISREG(found.status.st_mode):
            files[path] = found.status.st_size
        if len(files) + len(texts) > rules.MOST_FILES or len(problems) > rules.MOST_TOLD:
            break
    problems += unreadable
    if len(files) + len(texts) > rules.MOST_FILES:
        what = f"has more than {rules.MOST_FILES} files"
        problems.append(Problem(str(root), 0, 0, what, "make it several releases"))
    else:
        problems += link_problems(files, texts)
    if problems:
        raise BadInputError(*rules.told(problems))
    return Listing(files, texts)


def root_problems(root: Path) -> list[Problem]:
    """Return what is wrong with the folder itself: a link on its way is named with its target."""
    for folder in (*reversed(root.absolute().parents), root.absolute()):
        if folder.is_symlink():
            real = os.path.realpath(root)
            what = f"is a symlink to {shown_path(os.fsdecode(folder.readlink()))}"
            what += f": {root} is really {shown_path(real)}"
            to_do = f"name {shown_path(real)} itself, if that is what you mean"
            return [Problem(str(folder), 0, 0, what, to_do)]
    if not root.is_dir():
        what = "is no folder" if root.exists() else "does not exist"
        return [Problem(str(root), 0, 0, what, "name a folder with the files of a release")]
    return []


def walk(root: Path, unreadable: list[Problem]) -> Iterator[Found]:
    """Yield all that is in a folder, the folder itself first (as b"."), following no link.

    What cannot be looked at is put into `unreadable`.
    """
    top = os.fsencode(root)
    yield Found(b".", root.stat())
    waiting = [b""]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(os.path.join(top, folder) if folder else top) as entries:  # noqa: PTH118
                named = sorted(entries, key=lambda entry: entry.name)
            for entry in named:
                path = folder + b"/" + entry.name if folder else entry.name
                status = entry.stat(follow_symlinks=False)
                text = os.readlink(entry.path) if entry.is_symlink() else b""  # noqa: PTH115
                yield Found(path, status, text)
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
        except OSError as error:
            place = shown_path(os.fsdecode(error.filename or folder))
            what = f"cannot be looked at: {error.strerror}"
            unreadable.append(Problem(place, 0, 0, what, "let this user read it"))


def entry_problems(found: Found, place: str, known: Collection[int]) -> list[Problem]:
    """Return what is wrong with the kind, mode and owner of what lies at `place`; pure.

    `known` are the users that it may belong to.
    """
    mode, shown = found.status.st_mode, shown_path(place)
    if stat.S_ISLNK(mode):
        return []
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kind = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a pipe"}.get(stat.S_IFMT(mode))
        what = f"is {kind or 'a device'}, which cannot be published"
        return [Problem(shown, 0, 0, what, "remove it, or put it elsewhere")]
    problems = []
    owner, quoted = _owner(found.status.st_uid), shlex.quote(shown)
    folder = stat.S_ISDIR(mode)
    needed, letters = (0o005, "o+rx") if folder else (0o004, "o+r")
    if mode & needed != needed:
        kind = "a folder" if folder else "a file"
        what = f"is {kind} with mode {stat.S_IMODE(mode):04o} of {owner}: not all may read it"
        problems.append(Problem(shown, 0, 0, what, f"chmod {letters} {quoted}"))
    if found.status.st_uid not in known:
        what = f"belongs to {owner} (mode {stat.S_IMODE(mode):04o}), who has no business here"
        problems.append(Problem(shown, 0, 0, what, f"chown root {quoted}"))
    return problems


def link_problems(files: Collection[str], texts: dict[str, str]) -> list[Problem]:
    """Return what is wrong with the links of a folder that is put as a whole; pure."""
    targets = {path: rules.target_of(path, text) for path, text in texts.items()}
    aliases = {path: target for path, target in targets.items() if target is not None}
    there = {*files, *rules.all_folders(files)}
    finals = {rules.follow(path, aliases) for path in texts}
    return rules.alias_problems(texts, aliases, {one for one in finals if one} - there)


def check_release(release: Release) -> None:
    """Raise BadInputError unless each file of a release lies in the store, whole and readable."""
    content = checking.content_of(release)
    problems = blob_problems(
        [(path, sha256, size) for path, (sha256, size) in content.files.items()]
    )
    if problems:
        raise BadInputError(*rules.told(problems))


def blob_problems(files: Sequence[tuple[str, str, int]]) -> list[Problem]:
    """Return what is wrong with stored files: each a path, SHA-256 and size in bytes."""
    known = _users_of_ours()
    problems = []
    for path, sha256, size in files:
        place = blob_path(sha256)
        try:
            status = place.lstat()
        except OSError as error:
            what = f"cannot be published: {place}: {error.strerror}"
            to_do = "bring it back from a backup, or upload it again"
            problems.append(Problem(shown_path(path), 0, 0, what, to_do))
            continue
        if stat.S_ISREG(status.st_mode) and status.st_size != size:
            what = f"cannot be published: {place} has {status.st_size} bytes instead of {size}"
            to_do = "bring it back from a backup, or upload it again"
            problems.append(Problem(shown_path(path), 0, 0, what, to_do))
        problems += entry_problems(Found(path.encode(), status), str(place), known)
    return problems


def check_published() -> None:
    """Raise BadInputError unless our readers reach the folder of published trees."""
    problems = place_problems(Path(settings.COMMONFARM.published), _readers())
    if problems:
        raise BadInputError(*problems)


def place_problems(published: Path, readers: Sequence[Reader]) -> list[Problem]:
    """Return what keeps readers from a folder: a link, a mode above it or its own, its owner."""
    published = published.resolve()
    problems = []
    if not published.exists():
        return []  # It is made, with the right mode, when something is published.
    for folder in (*reversed(published.parents), published):
        status = folder.stat()
        wanted, letters = (5, "o+rx") if folder == published else (1, "o+x")
        kept_out = [one.name for one in readers if not one.may(status, wanted)]
        if kept_out:
            mode, owner = stat.S_IMODE(status.st_mode), _owner(status.st_uid)
            what = f"is a folder with mode {mode:04o} of {owner}: it keeps {kept_out[0]} out"
            to_do = f"chmod {letters} {shlex.quote(str(folder))}"
            problems.append(Problem(str(folder), 0, 0, what, to_do))
    status = published.stat()
    if status.st_uid not in _users_of_ours():
        what = f"belongs to {_owner(status.st_uid)}, who could change what is published"
        to_do = f"chown {_owner(os.getuid())} {shlex.quote(str(published))}"
        problems.append(Problem(str(published), 0, 0, what, to_do))
    return problems


def _readers() -> list[Reader]:
    """Return who serves published files: users of their own, or this very one."""
    found = []
    for process in READERS:
        try:
            user = pwd.getpwnam(f"{OURS}{process}")
        except KeyError:
            continue
        groups = frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
        found.append(Reader(user.pw_name, user.pw_uid, groups))
    owner = _owner(os.getuid())
    if found and owner.startswith(OURS):
        return found
    return [Reader(owner, os.getuid(), frozenset(os.getgroups()))]


def _users_of_ours() -> set[int]:
    ours = {user.pw_uid for user in pwd.getpwall() if user.pw_name.startswith(OURS)}
    return {0, os.getuid()} | ours


def _users_known() -> set[int]:
    return {os.getuid()} | {user.pw_uid for user in pwd.getpwall()}


def _owner(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
