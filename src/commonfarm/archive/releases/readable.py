"""Whether those who serve files can read them: judged by modes and owners, all faults at once.

The store's files must be readable as an application tree's are; the folders above a published tree
need only let our own readers through.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings

from commonfarm.archive.models import Release
from commonfarm.archive.releases import checking, rules
from commonfarm.archive.releases.application_tree import Found, entry_problems, owner_name
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
    problems = place_problems(Path(settings.COMMONFARM.published), readers())
    if problems:
        raise BadInputError(*problems)


def place_problems(published: Path, readers: Sequence[Reader]) -> list[Problem]:
    """Return what keeps readers from a folder: a link, a mode above it or its own, its owner."""
    published = published.resolve()
    if not published.exists():
        return []  # It is made, with the right mode, when something is published.
    problems = kept_out(published, readers)
    status = published.stat()
    if status.st_uid not in _users_of_ours():
        what = f"belongs to {owner_name(status.st_uid)}, who could change what is published"
        to_do = f"chown {owner_name(os.getuid())} {shlex.quote(str(published))}"
        problems.append(Problem(str(published), 0, 0, what, to_do))
    return problems


def kept_out(place: Path, readers: Sequence[Reader]) -> list[Problem]:
    """Return the folders from the root to `place` whose mode keeps a reader from what is there."""
    problems = []
    for folder in (*reversed(place.parents), place):
        status = folder.stat()
        wanted, letters = (5, "o+rx") if folder == place else (1, "o+x")
        names = [one.name for one in readers if not one.may(status, wanted)]
        if names:
            mode, owner = stat.S_IMODE(status.st_mode), owner_name(status.st_uid)
            what = f"is a folder with mode {mode:04o} of {owner}: it keeps {names[0]} out"
            to_do = f"chmod {letters} {shlex.quote(str(folder))}"
            problems.append(Problem(str(folder), 0, 0, what, to_do))
    return problems


def readers() -> list[Reader]:
    """Return who serves published files: users of their own, or this very one."""
    found = []
    for process in READERS:
        try:
            user = pwd.getpwnam(f"{OURS}{process}")
        except KeyError:
            continue
        groups = frozenset(os.getgrouplist(user.pw_name, user.pw_gid))
        found.append(Reader(user.pw_name, user.pw_uid, groups))
    owner = owner_name(os.getuid())
    if found and owner.startswith(OURS):
        return found
    return [Reader(owner, os.getuid(), frozenset(os.getgroups()))]


def _users_of_ours() -> set[int]:
    ours = {user.pw_uid for user in pwd.getpwall() if user.pw_name.startswith(OURS)}
    return {0, os.getuid()} | ours
