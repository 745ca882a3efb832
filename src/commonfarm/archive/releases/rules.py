"""What the paths and aliases of a release tree may be. Pure functions.

Paths are relative to the tree, text in UTF-8 with slashes. A file's name is kept below what file
systems take, so that mirrors can give it a temporary name while they fetch it.
"""

from __future__ import annotations

import posixpath
import unicodedata
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from commonfarm.archive import manifest
from commonfarm.lib.errors import Problem
from commonfarm.redirector.selection import changes_in_place

MOST_PATH_BYTES = 1000
MOST_NAME_BYTES = 240
MOST_FILES = 500_000
MOST_ALIASES = 10_000
MOST_HOPS = 40
"""So many aliases may lead to one another; Linux follows as many symlinks."""
MOST_TOLD = 200


def path_problem(path: str) -> Problem | None:
    """Return what is wrong with a path, None for a good one."""
    shown = shown_path(path)
    if not path or path.startswith("/"):
        return Problem(shown, 0, 0, "is no path below the tree", "leave the slash before it away")
    if any(part in ("", ".", "..") for part in path.split("/")):
        what = "has an empty part, `.` or `..` in it"
        return Problem(shown, 0, 0, what, "write the plain names of folders and file")
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in path):
        what = "has control characters, or is not UTF-8"
        return Problem(shown, 0, 0, what, "give the file another name")
    if len(path.encode()) > MOST_PATH_BYTES:
        return Problem(shown, 0, 0, f"is longer than {MOST_PATH_BYTES} bytes", "shorten it")
    if any(len(part.encode()) > MOST_NAME_BYTES for part in path.split("/")):
        what = f"has a name of more than {MOST_NAME_BYTES} bytes"
        return Problem(shown, 0, 0, what, "shorten it")
    return None


def shown_path(path: str) -> str:
    """Return a path as it can be shown on a terminal, cut where it is very long."""
    return "".join(map(_shown, path[:300])) or "(empty)"


def _shown(letter: str) -> str:
    if letter.isprintable():
        return letter
    if "\udc80" <= letter <= "\udcff":  # a byte that is no UTF-8, as Python reads file names
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


def folders_of(path: str) -> Iterator[str]:
    """Yield the folders that a path lies in, the innermost first."""
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def all_folders(paths: Iterable[str]) -> set[str]:
    """Return every folder that any of `paths` lies in."""
    found: set[str] = set()
    for path in paths:
        for folder in folders_of(path):
            if folder in found:
                break
            found.add(folder)
    return found


def conflicts(files: Collection[str], aliases: Collection[str]) -> list[Problem]:
    """Return what is wrong between paths of one release: a file where others need a folder."""
    taken = {*files, *aliases}
    ordered = sorted(taken)
    found = []
    for path in sorted(all_folders(taken) & taken):
        below = ordered[bisect_left(ordered, f"{path}/")]
        kind = "an alias" if path in aliases else "a file"
        found.append(
            Problem(shown_path(below), 0, 0, f"lies below {path}, which is {kind}", "rename one")
        )
    return found


def reserved(paths: Iterable[str], repositories: Collection[str]) -> list[Problem]:
    """Return the paths that belong to something else: to repositories, or to the manifest."""
    found = []
    for path in paths:
        for folder in (path, *folders_of(path)):
            if folder == manifest.FOLDER:
                what = "is where the tree's signed manifest lies"
            elif folder in repositories:
                what = f"is part of the repository at {folder}, which only builds fill"
            else:
                continue
            found.append(Problem(shown_path(path), 0, 0, what, "put it into another folder"))
            break
    return found


def target_of(path: str, text: str) -> str | None:
    """Return the path that a symlink at `path` with `text` in it stands for; None: outside.

    The tree itself is outside, too: it would hold itself.
    """
    if text.startswith("/"):
        return None
    found = posixpath.normpath(posixpath.join(posixpath.dirname(path), text))
    return None if found in (".", "..") or found.startswith("../") else found


def link_text(path: str, target: str) -> str:
    """Return what a symlink at `path` has to say to lead to `target`, both below one tree."""
    return posixpath.relpath(target, posixpath.dirname(path) or ".")


def follow(path: str, aliases: Mapping[str, str]) -> str | None:
    """Return the path that `path` stands for when all aliases are followed; None: they loop."""
    for _ in range(MOST_HOPS):
        parts = path.split("/")
        for end in range(1, len(parts) + 1):
            target = aliases.get("/".join(parts[:end]))
            if target is not None:
                path = "/".join([target, *parts[end:]])
                break
        else:
            return path
    return None


def alias_problems(
    texts: Mapping[str, str], aliases: Mapping[str, str], missing: Collection[str]
) -> list[Problem]:
    """Return what is wrong with new aliases.

    `texts` are theirs, `aliases` all of the tree as they will be (path to target), and `missing`
    the final targets at which there will be nothing.
    """
    found = []
    for path, text in sorted(texts.items()):
        said = f"is a link to {shown_path(text)}"
        if target_of(path, text) is None:
            what, to_do = f"{said}, which leaves the tree", "put what it leads to into the tree"
        elif (final := follow(path, aliases)) is None:
            what, to_do = f"{said}, and the links lead around in a circle", "take one away"
        elif final in missing:
            what, to_do = f"{said}, where there is nothing", "put it there, or take the link away"
        elif final.startswith(f"{path}/") or path.startswith(f"{final}/"):
            what, to_do = f"{said}, a folder that holds it", "let it lead elsewhere"
        else:
            continue
        found.append(Problem(shown_path(path), 0, 0, what, to_do))
    return found


def changes(path: str, patterns: Iterable[str]) -> bool:
    """Say whether the bytes at `path` may change: an index does, and what the tree declares so.

    A pattern is a shell's; `*` goes over slashes, too.
    """
    return changes_in_place(path) or any(fnmatchcase(path, one) for one in patterns)


def told(problems: list[Problem]) -> list[Problem]:
    """Return `problems`, cut to what a person reads, with how many more there are."""
    if len(problems) <= MOST_TOLD:
        return problems
    more = len(problems) - MOST_TOLD
    return [
        *problems[:MOST_TOLD],
        Problem("~", 0, 0, f"and {more} more faults", "mend these first"),
    ]
