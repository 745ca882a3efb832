"""Published trees as folders: `<published>/<tree>` is a link to the folder of one revision.

The folder is made aside, of hard links into the store, and is whole and on disk before the link is
replaced by renaming: a reader that comes is in one revision or in the other. Behind the link there
are plain files and folders only, so any mirror script can copy it.

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
from collections.abc import Iterator
from pathlib import Path

from django.conf import settings
from django.db.models import Q

from commonfarm.archive.models import Publication, TreeFile
from commonfarm.archive.trees import WHOLE_EVERY, files_of
from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.paths import inside, is_file_name
from commonfarm.store.interface import blob_path, full_disk_is_said, sync_folder

KEEP_FOLDERS = 2
FOLDER_MODE = 0o755
FILE_MODE = 0o644
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


def switch(publication: Publication) -> int:
    """Make a revision the one that users see; return how many files it has. Idempotent."""
    tree, revision = publication.tree, publication.revision
    published = Path(settings.COMMONFARM.published)
    whole = published / f"{_name(tree)}.r{revision}"
    with full_disk_is_said(), _alone(published):
        # Raises where the session was cut, and with it our claim on the publication.
        publication.refresh_from_db(fields=["state"])
        if not whole.is_dir():
            aside = published / f".{_name(tree)}.r{revision}.new"
            if aside.exists():
                shutil.rmtree(aside)
            # An older one may be half removed already.
            kept = _past(tree, revision)[-KEEP_FOLDERS:]
            if len(kept) < KEEP_FOLDERS or revision % WHOLE_EVERY == 0:
                files = files_of(tree, revision).values_list("path", "blob_id")
                _fill(aside, {path: blob_path(sha256) for path, sha256 in files})
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
def _alone(published: Path) -> Iterator[None]:
    """Let one process or thread at a time write below `published`.

    The lock of the publication's row is not enough: PostgreSQL frees it when it is killed, while
    who held it is still writing.
    """
    _make_folders(published, set())
    descriptor = os.open(published, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def prune(tree: ReleaseTree) -> list[str]:
    """Remove the folders of past revisions that are not kept; return their names."""
    link = Path(settings.COMMONFARM.published) / _name(tree)
    if not link.is_symlink():
        return []
    past = _past(tree, _revision(link.readlink()))[:-KEEP_FOLDERS]
    for folder in past:
        shutil.rmtree(folder)
    return [folder.name for folder in past]


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
    there = Q(until_revision=None) | Q(until_revision__gt=new)
    rows = TreeFile.objects.filter(tree=tree)
    come = dict(
        rows.filter(there, since_revision__gt=old, since_revision__lte=new).values_list(
            "path", "blob_id"
        )
    )
    gone = rows.filter(until_revision__gt=old, until_revision__lte=new).values_list(
        "path", flat=True
    )
    touched: set[Path] = set()
    for path in sorted(come, key=_indexes_last):
        target = inside(folder, path)
        _make_folders(target.parent, touched)
        partial = target.with_name(f".{target.name}.new")
        partial.unlink(missing_ok=True)
        _put(blob_path(come[path]), partial)
        partial.replace(target)
        # Renaming a link over another link of the same file does nothing, and leaves both.
        partial.unlink(missing_ok=True)
        touched.add(target.parent)
    for path in set(gone) - set(come):
        target = inside(folder, path)
        target.unlink(missing_ok=True)
        touched.add(target.parent)
    for one in touched:
        sync_folder(one)


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


def _fill(folder: Path, files: dict[str, Path]) -> None:
    """Make `folder` of all `files`; on disk when this returns."""
    made: set[Path] = set()
    _make_folders(folder, made)
    for relative, source in files.items():
        target = inside(folder, relative)
        if target.parent not in made:
            _make_folders(target.parent, made)
        _put(source, target)
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


def _name(tree: ReleaseTree) -> str:
    if not is_file_name(tree.name):
        raise ValueError(f"the tree's name {tree.name!r} is no file name")
    return tree.name
