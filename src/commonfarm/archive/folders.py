"""Published trees as folders: `<published>/<tree>` is a link to the folder of one revision.

The folder is made aside, of hard links into the store, and is whole and on disk before the link is
replaced by renaming. A reader is thus in one revision or in the other, and one that holds a folder
open keeps it: old folders stay for a while.
"""

from __future__ import annotations

import errno
import re
import shutil
import subprocess
from datetime import datetime, timedelta
from pathlib import Path

from django.conf import settings

from commonfarm.archive.models import Publication, PublicationState
from commonfarm.archive.trees import current_revision, files_of
from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.paths import inside, is_file_name
from commonfarm.store.interface import blob_path, full_disk_is_said, sync_folder

GRACE = timedelta(hours=1)
FOLDER_MODE = 0o755
FILE_MODE = 0o644
_CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP)


def switch(publication: Publication) -> int:
    """Make a revision the one that users see; return how many files it has. Idempotent."""
    tree, revision = publication.tree, publication.revision
    published = Path(settings.COMMONFARM.published)
    whole = published / f"{_name(tree)}.r{revision}"
    files = files_of(tree, revision)
    with full_disk_is_said():
        if not whole.is_dir():
            aside = published / f".{_name(tree)}.r{revision}.new"
            if aside.exists():
                shutil.rmtree(aside)
            _fill(aside, {file.path: blob_path(file.blob_id) for file in files})
            aside.rename(whole)
            sync_folder(published)
        link = published / f".{_name(tree)}.link"
        link.unlink(missing_ok=True)
        link.symlink_to(whole.name, target_is_directory=True)
        link.replace(published / _name(tree))
        sync_folder(published)
    return files.count()


def prune(tree: ReleaseTree, now: datetime) -> list[str]:
    """Remove folders of revisions that users stopped seeing GRACE ago; return their names."""
    published = Path(settings.COMMONFARM.published)
    current = current_revision(tree)
    replaced_at = {
        one.revision: one.published_at
        for one in Publication.objects.filter(tree=tree, state=PublicationState.PUBLISHED)
    }
    order = sorted(replaced_at)
    removed = []
    pattern = re.compile(re.escape(_name(tree)) + r"\.r([0-9]+)")
    for folder in sorted(published.iterdir()) if published.is_dir() else []:
        found = pattern.fullmatch(folder.name)
        if found is None or int(found[1]) >= current:
            continue
        later = next((number for number in order if number > int(found[1])), None)
        since = replaced_at[later] if later is not None else None
        if since is not None and now - since > GRACE:
            shutil.rmtree(folder)
            removed.append(folder.name)
    return removed


def _fill(folder: Path, files: dict[str, Path]) -> None:
    """Make `folder` of links to the store's files, or copies where links are refused; synced."""
    made: set[Path] = set()

    def make(one: Path) -> None:
        if one in made:
            return
        if one != folder:
            make(one.parent)
        one.mkdir(exist_ok=True)
        one.chmod(FOLDER_MODE)
        made.add(one)

    make(folder)
    for relative, source in files.items():
        target = inside(folder, relative)
        make(target.parent)
        try:
            target.hardlink_to(source)
        except OSError as error:
            if error.errno not in _CANNOT_LINK:
                raise
            _copy(source, target)
    # One call for all of them: a folder for each source, each synced by itself, takes minutes.
    subprocess.run(["sync", "--file-system", folder], check=True)


def _copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    target.chmod(FILE_MODE)


def _name(tree: ReleaseTree) -> str:
    if not is_file_name(tree.name):
        raise ValueError(f"the tree's name {tree.name!r} is no file name")
    return tree.name
