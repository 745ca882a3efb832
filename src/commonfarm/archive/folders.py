"""Published trees as folders: `<published>/<tree>` is a link to the folder of one revision.

The folder is made aside, of hard links into the store, and is whole and on disk before the link is
replaced by renaming: a reader that comes is in one revision or in the other. Behind the link there
are plain files and folders, and for each alias a relative symlink that does not leave them, so any
mirror script can copy it.

So that a revision costs what it changes and not what it holds, the folder of a past one is taken
and brought forward: content first, indexes last. KEEP_FOLDERS past ones are kept, so one that
holds a folder open (an rsync under way) has it unchanged until that many newer revisions are out,
and after that reads a newer whole file, never half of one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from django.conf import settings
from django.db.models import Q

from commonfarm.archive.copies import walk_files
from commonfarm.archive.models import Publication, TreeAlias, TreeFile
from commonfarm.archive.releases.rules import link_text
from commonfarm.archive.trees import aliases_of, files_of
from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.paths import inside, is_file_name
from commonfarm.store.interface import blob_path, full_disk_is_said, sync_folder

KEEP_FOLDERS = 2
STAGING = ".staging"
FOLDER_MODE = 0o755
FILE_MODE = 0o644
PARTIAL = ".commonfarm.new"
"""What is put in place by renaming has this name before."""
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to a folder: the SHA-256 of files and the targets of aliases that come (paths of
    the tree), and the paths of what goes.
    """

    files: Mapping[str, str]
    aliases: Mapping[str, str]
    gone: Collection[str]


def switch(publication: Publication) -> int:
    """Make a revision the one that users see; return how many files it has. Idempotent."""
    tree, revision = publication.tree, publication.revision
    published = Path(settings.COMMONFARM.published)
    whole = published / f"{_name(tree)}.r{revision}"
    with full_disk_is_said(), alone(published):
        # Raises where the session was cut, and with it our claim on the publication.
        publication.refresh_from_db(fields=["state"])
        if not whole.is_dir():
            aside = published / f".{_name(tree)}.r{revision}.new"
            if aside.exists():
                shutil.rmtree(aside)
            kept = _past(tree, revision)[-KEEP_FOLDERS:]
            if len(kept) < KEEP_FOLDERS:
                fill(aside, tree, revision)
            else:
                kept[0].rename(aside)
                sync_folder(published)
                _bring_forward(aside, tree, _revision(kept[0]), revision)
            aside.rename(whole)
            sync_folder(published)
        link = published / f".{_name(tree)}.link"
        link.unlink(missing_ok=True)
        link.symlink_to(whole.name, target_is_directory=True)
        link.replace(published / _name(tree))
        sync_folder(published)
    return files_of(tree, revision).count()


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process or thread at a time write below `folder`.

    The lock of the publication's row is not enough: PostgreSQL frees it when it is killed, while
    who held it is still writing.
    """
    _make_folders(folder, set())
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def prune(tree: ReleaseTree, *, keep: int = KEEP_FOLDERS) -> list[str]:
    """Remove the folders of past revisions but the newest `keep`; return their names."""
    published = Path(settings.COMMONFARM.published)
    # By another name, or the next revision is made of what a kill has left of it.
    aside = published / f".{_name(tree)}.past"
    if not aside.exists() and len(_past_of_seen(tree)) <= keep:
        return []
    with alone(published):
        past = _past_of_seen(tree)
        past = past[: max(0, len(past) - keep)]
        for folder in (None, *past):
            if folder is not None:
                folder.rename(aside)
            if aside.exists():
                shutil.rmtree(aside)
    return [folder.name for folder in past]


def mend(tree: ReleaseTree) -> list[str]:
    """Have the newest past folder hold what its revision had, whatever was done to it since.

    A later revision is made of it. Returns the paths that were wrong. Nobody waits while it is
    looked through; where a revision took it meanwhile, it stays as it is until the next time.
    """
    published = Path(settings.COMMONFARM.published)
    if not (past := _past_of_seen(tree)):
        return []
    try:
        change = _spoiled(past[-1], tree, _revision(past[-1]))
    except FileNotFoundError:
        return []
    with full_disk_is_said(), alone(published):
        if past[-1] not in _past_of_seen(tree):
            return []
        apply(past[-1], change)
    return sorted({*change.files, *change.aliases, *change.gone})


def _spoiled(folder: Path, tree: ReleaseTree, revision: int) -> Change:
    """Return what makes a folder right that should be that of a revision.

    What is a link to the right file of the store is right, without a look at its bytes.
    """
    files = dict(files_of(tree, revision).values_list("path", "blob_id"))
    aliases = dict(aliases_of(tree, revision).values_list("path", "target"))
    device, gone = folder.stat().st_dev, []
    for path, entry in walk_files(folder):
        if entry.is_symlink():
            right = path in aliases and str(Path(entry.path).readlink()) == link_text(
                path, aliases[path]
            )
        else:
            right = path in files and _is_put(entry, blob_path(files[path]), device)
        if right:
            files.pop(path, None)
            aliases.pop(path, None)
        elif path not in files and path not in aliases:
            gone.append(path)
    return Change(files, aliases, gone)


def _is_put(entry: os.DirEntry[str], source: Path, device: int) -> bool:
    """Say whether `source` was put there; where links are refused, by what a copy costs nothing."""
    status = source.stat()
    if status.st_dev == device and status.st_ino == entry.inode():
        return True
    found = entry.stat(follow_symlinks=False)
    return found.st_nlink == 1 and found.st_size == status.st_size and found.st_dev != status.st_dev


def _past_of_seen(tree: ReleaseTree) -> list[Path]:
    """Return the folders of revisions before the one that users see, oldest first."""
    link = Path(settings.COMMONFARM.published) / _name(tree)
    return _past(tree, _revision(link.readlink())) if link.is_symlink() else []


def _past(tree: ReleaseTree, revision: int) -> list[Path]:
    """Return the folders of revisions before `revision` that users no longer see, oldest first."""
    published = Path(settings.COMMONFARM.published)
    link = published / _name(tree)
    seen = link.readlink().name if link.is_symlink() else ""
    pattern = re.compile(re.escape(_name(tree)) + r"\.r[0-9]+")
    found = [
        folder
        for folder in (published.iterdir() if published.is_dir() else [])
        if pattern.fullmatch(folder.name)
        and folder.name != seen
        and _revision(folder) < revision
        and folder.is_dir()
        and not folder.is_symlink()
    ]
    return sorted(found, key=_revision)


def _revision(folder: Path) -> int:
    return int(folder.name.rpartition(".r")[2])


def _bring_forward(folder: Path, tree: ReleaseTree, old: int, new: int) -> None:
    """Make the folder of revision `old` that of revision `new`; on disk when this returns.

    What is there already is put again by the same name, so a folder that was brought forward in
    part, and kept its old name by a crash, becomes right as well.
    """
    apply(folder, change_between(tree, old, new))


def change_between(tree: ReleaseTree, old: int, new: int) -> Change:
    """Return what makes the folder of revision `old` that of revision `new`."""
    there = Q(until_revision=None) | Q(until_revision__gt=new)
    come = Q(since_revision__gt=old, since_revision__lte=new)
    ended = Q(until_revision__gt=old, until_revision__lte=new)
    files, aliases = TreeFile.objects.filter(tree=tree), TreeAlias.objects.filter(tree=tree)
    return Change(
        dict(files.filter(there, come).values_list("path", "blob_id")),
        dict(aliases.filter(there, come).values_list("path", "target")),
        {
            *files.filter(ended).values_list("path", flat=True),
            *aliases.filter(ended).values_list("path", flat=True),
        },
    )


def apply(folder: Path, change: Change) -> None:
    """Change a folder: content, aliases, indexes, and last what goes; on disk when this returns.

    Idempotent. Symlinks on the way are never followed: a folder may take the place of an alias, or
    an alias that of a folder, whose files are then gone.
    """
    touched: set[Path] = set()
    real: set[Path] = {folder}
    paths = sorted(change.files, key=_indexes_last)
    indexes = [path for path in paths if _indexes_last(path)]
    for path in paths[: len(paths) - len(indexes)]:
        _bring_file(folder, path, change.files[path], real, touched)
    for path, target in change.aliases.items():
        partial = _partial(inside(folder, path), real, touched)
        partial.symlink_to(link_text(path, target))
        _replace(partial, inside(folder, path))
    for path in indexes:
        _bring_file(folder, path, change.files[path], real, touched)
    for path in change.gone:
        if path not in change.files and path not in change.aliases:
            _remove(folder, path, touched)
    for one in touched:
        if one.is_dir():
            sync_folder(one)


def _bring_file(folder: Path, path: str, sha256: str, real: set[Path], touched: set[Path]) -> None:
    target = inside(folder, path)
    partial = _partial(target, real, touched)
    _put(blob_path(sha256), partial)
    _replace(partial, target)
    # Renaming a link over another link of the same file does nothing, and leaves both.
    partial.unlink(missing_ok=True)


def _partial(target: Path, real: set[Path], touched: set[Path]) -> Path:
    """Return where `target` is made before it is renamed; its folder is there, and nothing else."""
    _really_make(target.parent, real, touched)
    touched.add(target.parent)
    partial = target.with_name(PARTIAL)
    partial.unlink(missing_ok=True)
    return partial


def _really_make(folder: Path, real: set[Path], touched: set[Path]) -> None:
    """Make `folder` and those above it folders, up to one of `real`, which are known to be."""
    if folder in real:
        return
    _really_make(folder.parent, real, touched)
    if folder.is_symlink() or not folder.is_dir():
        folder.unlink(missing_ok=True)
        _make_folders(folder, touched)
    real.add(folder)


def _replace(partial: Path, target: Path) -> None:
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    partial.replace(target)


def _remove(folder: Path, path: str, touched: set[Path]) -> None:
    """Remove a file or alias, and the folders that are empty then."""
    target = inside(folder, path)
    above = list(takewhile(lambda one: one != folder, target.parents))
    if any(one.is_symlink() or not one.is_dir() for one in above):
        return  # Something else has the place of its folder.
    if target.is_symlink() or not target.is_dir():
        target.unlink(missing_ok=True)
        touched.add(target.parent)
    with contextlib.suppress(OSError):  # the first that is not empty
        for one in above:
            one.rmdir()
            touched.add(one.parent)


def _indexes_last(path: str) -> int:
    """Order what is brought: packages and indexes by hash, then indexes, then what signs them."""
    name = path.rpartition("/")[2]
    if name in ("Release", "Release.gpg", "InRelease"):
        return 2
    return 1 if "/dists/" in path and "/by-hash/" not in path else 0


def _make_folders(folder: Path, touched: set[Path]) -> None:
    if folder.is_dir():
        return
    _make_folders(folder.parent, touched)
    folder.mkdir()
    folder.chmod(FOLDER_MODE)
    touched.update((folder, folder.parent))


def fill(folder: Path, tree: ReleaseTree, revision: int) -> None:
    """Make `folder` of all that a revision has; on disk when this returns."""
    made: set[Path] = set()
    _make_folders(folder, made)
    for path, sha256 in files_of(tree, revision).values_list("path", "blob_id"):
        target = inside(folder, path)
        if target.parent not in made:
            _make_folders(target.parent, made)
            made.add(target.parent)
        _put(blob_path(sha256), target)
    for path, target_path in aliases_of(tree, revision).values_list("path", "target"):
        target = inside(folder, path)
        _make_folders(target.parent, made)
        target.symlink_to(link_text(path, target_path))
    # One call for all of them: a folder for each source, each synced by itself, takes minutes.
    subprocess.run(["sync", "--file-system", folder], check=True)


def _put(source: Path, target: Path) -> None:
    """Link `source`, a file of the store, as `target`; or copy it, where links are refused."""
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in _CANNOT_LINK:
            raise
        shutil.copyfile(source, target)
        target.chmod(FILE_MODE)
        with target.open("rb") as copied:
            os.fsync(copied.fileno())


def staging_folder(tree: ReleaseTree) -> Path:
    """Return where the folder of what is under embargo is, or would be: see `releases.staging`."""
    return Path(settings.COMMONFARM.published) / STAGING / _name(tree)


def _name(tree: ReleaseTree) -> str:
    if not is_file_name(tree.name):
        raise ValueError(f"the tree's name {tree.name!r} is no file name")
    return tree.name
