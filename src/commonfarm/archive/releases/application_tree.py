"""An application tree: the folder where an application or a person puts files.

Judged by modes, owners, names and links, all faults at once. Every file must be readable by all,
since web servers and mirrors run as other users than who put it there, and mirrors copy modes
along. No Django: `commonfarm tree put` runs this where the files are.
"""

from __future__ import annotations

import os
import pwd
import shlex
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from commonfarm.archive.releases import rules
from commonfarm.archive.releases.rules import shown_path
from commonfarm.lib.errors import BadInputError, Problem

MOST_DEPTH = 100
SEEN_HIDDEN = (".composeinfo", ".discinfo", ".disk", ".treeinfo")
"""Hidden names by which installers find their way: those of Fedora's trees, and of Debian's CDs."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Found:
    """Something in a folder: its path below it, what it is, and what a link says."""

    path: bytes
    status: os.stat_result
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class Unseen:
    """What could not be looked at, and why; of a folder, nothing in it was."""

    path: bytes
    why: str


@dataclass(frozen=True, slots=True)
class Listing:
    """What may become a release: files with their sizes, links with their text."""

    files: dict[str, int]
    aliases: dict[str, str]


def check_folder(root: Path) -> Listing:
    """Judge an application tree, and return what is in it; BadInputError has all its faults.

    Refused are sockets, devices and pipes, what not everybody may read, what belongs to a user that
    this machine does not know, links that leave the tree, dangle or loop, names that are not UTF-8
    or have control characters, a root that is a link, more files than a release may have, and none.
    """
    problems = root_problems(root)
    if problems:
        raise BadInputError(*problems)
    files: dict[str, int] = {}
    texts: dict[str, str] = {}
    known = users_known()
    for found in walk(root):
        place = str(root / os.fsdecode(found.path))
        if isinstance(found, Unseen):
            what, to_do = f"cannot be looked at: {found.why}", "let this user read it"
            problems.append(Problem(shown_path(place), 0, 0, what, to_do))
            continue
        problems += entry_problems(found, place, known)
        path = os.fsdecode(found.path)
        if stat.S_ISDIR(found.status.st_mode):
            continue
        if (problem := rules.path_problem(path)) is not None:
            problems.append(replace(problem, file=shown_path(place)))
        elif stat.S_ISLNK(found.status.st_mode):
            texts[path] = os.fsdecode(found.text)
        elif stat.S_ISREG(found.status.st_mode):
            files[path] = found.status.st_size
        if len(files) + len(texts) > rules.MOST_FILES or len(problems) > rules.MOST_TOLD:
            break
    if len(files) + len(texts) > rules.MOST_FILES:
        what = f"has more than {rules.MOST_FILES} files"
        problems.append(Problem(str(root), 0, 0, what, "make it several releases"))
    else:
        problems += [
            replace(one, file=shown_path(str(root / one.file)))
            for one in link_problems(files, texts)
        ]
    if not problems and not files and not texts:
        what, to_do = "is an empty folder", "name one with the files of a release"
        problems.append(Problem(str(root), 0, 0, what, to_do))
    if problems:
        raise BadInputError(*rules.told(problems))
    return Listing(files, texts)


def check_file(file: Path) -> Listing:
    """Judge a single file as `check_folder` judges many."""
    problems = root_problems(file.parent)
    if problems:
        raise BadInputError(*problems)
    status = file.lstat()
    problems = entry_problems(Found(os.fsencode(file.name), status), str(file), users_known())
    if (problem := rules.path_problem(file.name)) is not None:
        problems.append(problem)
    if problems:
        raise BadInputError(*problems)
    return Listing({file.name: status.st_size}, {})


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


def walk(root: Path, *, hidden: bool = True) -> Iterator[Found | Unseen]:
    """Yield all that is in a folder, the folder itself first (as b"."), following no link.

    Not `hidden`: but for names that begin with a dot, and what is in such folders; SEEN_HIDDEN are
    seen nevertheless.

    In the order of paths as bytes, a folder's with a slash behind it: as a database sorts them. Of
    the names only those of the folders on the way to where it stands are kept.
    """
    top = os.open(root, _FOLDER)
    levels = [(top, b"", iter([b""]))]
    try:
        yield Found(b".", os.fstat(top))
        levels[0] = (top, b"", _names(top, hidden))
        while levels:
            here, prefix, names = levels[-1]
            key = next(names, None)
            if key is None:
                levels.pop()
                os.close(here)
                continue
            found = _look(here, prefix, key)
            if found is None:
                continue
            yield found
            if isinstance(found, Unseen) or not key.endswith(b"/"):
                continue
            if len(levels) >= MOST_DEPTH:
                yield Unseen(found.path, f"it lies {MOST_DEPTH} folders deep")
                continue
            try:
                below = os.open(key[:-1], _FOLDER, dir_fd=here)
            except OSError as error:
                yield Unseen(found.path, error.strerror or str(error))
                continue
            levels.append((below, prefix + key, iter(())))
            try:
                levels[-1] = (below, prefix + key, _names(below, hidden))
            except OSError as error:
                yield Unseen(found.path, error.strerror or str(error))
    finally:
        for here, _, _ in levels:
            os.close(here)


def _names(folder: int, hidden: bool) -> Iterator[bytes]:
    """Return the names in a folder, sorted; those of folders end in a slash."""
    with os.scandir(folder) as entries:
        return iter(
            sorted(
                os.fsencode(one.name) + (b"/" if one.is_dir(follow_symlinks=False) else b"")
                for one in entries
                if hidden or not one.name.startswith(".") or one.name in SEEN_HIDDEN
            )
        )


def _look(folder: int, prefix: bytes, key: bytes) -> Found | Unseen | None:
    """Look at what has a name; None when it is gone meanwhile."""
    name = key.removesuffix(b"/")
    path = prefix + name
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
        link = stat.S_ISLNK(status.st_mode)
        text = os.readlink(name, dir_fd=folder) if link else b""
    except FileNotFoundError:
        return None
    except OSError as error:
        return Unseen(path, error.strerror or str(error))
    if stat.S_ISDIR(status.st_mode) is not key.endswith(b"/"):
        return Unseen(path, "it was replaced meanwhile")
    return Found(path, status, text)


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
    owner, quoted = owner_name(found.status.st_uid), shlex.quote(shown)
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


def users_known() -> set[int]:
    """Return the users that this machine knows, and who runs this."""
    return {os.getuid()} | {user.pw_uid for user in pwd.getpwall()}


def owner_name(uid: int) -> str:
    """Return a user's name, or its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"
