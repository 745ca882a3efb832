"""The folder from which registered mirrors fetch what is under embargo, before it ends.

`<published>/.staging/<tree>` is what the tree will be at that time: the current revision with the
embargoed releases' files and aliases in their places, as hard links. A mirror copies it to a hidden
folder of its own; at the time of the release its usual pull finds every byte there (rsync's
`--link-dest`). The folder is made at a tree's first embargo and then kept up with each revision, at
the cost of what changes, so that a mirror's pull of it never finds nothing.

What the folder has is noted beside it before and after it is changed, so a kill loses nothing: the
next run does the same again. No web server sees it: the redirector gives out nothing below a name
that begins with a dot, and the folder is closed to all but rsync's daemon.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app

from commonfarm.archive import folders, ports, rsync_modules
from commonfarm.archive.models import Release, ReleaseFile, ReleaseState
from commonfarm.archive.releases import rules
from commonfarm.archive.trees import aliases_of, current_revision, files_of
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import defer_once
from commonfarm.store.interface import full_disk_is_said, sync_folder

WHO = "process:worker"
FOLDER_MODE = 0o2750
AGAIN_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Note:
    """What a staging folder has: a revision, and releases (by number) beside it.

    Unless it is `whole` all of it has to be looked at again: it may be there or not.
    """

    revision: int
    releases: list[int]
    whole: bool = True


@app.task(name="archive.stage_tree", queue="default")
def stage_tree(tree_id: int) -> None:
    """Bring a tree's staging folder up to date, and have rsync serve it."""
    tree = ReleaseTree.objects.get(pk=tree_id)
    if stage(tree):
        rsync_modules.write()
        tell(tree, timezone.now())


def stage_soon(tree: ReleaseTree) -> None:
    """Have the staging folder follow the tree, if there is one or has to be.

    Only the worker may look whether there is one: the hub's user cannot.
    """
    defer_once(stage_tree, f"stage-tree-{tree.pk}", tree_id=tree.pk)


def is_wanted(tree: ReleaseTree) -> bool:
    """Say whether a tree has a staging folder, or has to have one: for the worker alone to ask."""
    return folders.staging_folder(tree).exists() or bool(_embargoed(tree))


def stage(tree: ReleaseTree) -> bool:
    """Make a tree's staging folder what it has to be; say whether there is one. Idempotent."""
    folder = folders.staging_folder(tree)
    if not is_wanted(tree):
        return False
    published = Path(settings.COMMONFARM.published)
    with full_disk_is_said(), folders.alone(published):
        embargoed = _embargoed(tree)
        wanted = Note(current_revision(tree), [release.number for release in embargoed])
        note = _read(tree) if folder.is_dir() else None
        if note is None:
            note = _make(tree, wanted.revision)
        if note == wanted:
            return True
        # Cut off from here on, the next run knows of all that may be there.
        both = sorted({*note.releases, *wanted.releases})
        _write(tree, Note(note.revision, both, whole=False))
        folders.apply(folder, _change(tree, note, wanted, embargoed))
        _write(tree, wanted)
    return True


def tell(tree: ReleaseTree, now: datetime) -> None:
    """Have mirrors told, once, of each release that they can fetch from now on."""
    note = _read(tree)
    with transaction.atomic():
        rows = Release.objects.select_for_update(of=("self",)).select_related("tree")
        for release in rows.filter(
            tree=tree,
            state=ReleaseState.EMBARGOED,
            staged_at=None,
            number__in=note.releases if note and note.whole else [],
        ):
            release.stage(now, who=WHO)
            ports.release_staged.get()(tree, release.pk)


def _embargoed(tree: ReleaseTree) -> list[Release]:
    rows = Release.objects.filter(tree=tree, state=ReleaseState.EMBARGOED)
    return list(rows.select_related("tree").order_by("visible_from", "number"))


def _make(tree: ReleaseTree, revision: int) -> Note:
    """Make the folder anew, of the current revision alone."""
    folder = folders.staging_folder(tree)
    _make_place(folder.parent)
    aside = folder.with_name(f".{tree.name}.new")
    if aside.exists():
        shutil.rmtree(aside)
    folders.fill(aside, tree, revision)
    if folder.exists():  # one without a note, of which nobody knows what it has
        shutil.rmtree(folder)
    note = Note(revision, [])
    _write(tree, note)
    aside.rename(folder)
    sync_folder(folder.parent)
    return note


def _make_place(folder: Path) -> None:
    """Make the folder of staging folders, where `up` has not made it: for this user alone."""
    if not folder.is_dir():
        folder.mkdir()
        folder.chmod(FOLDER_MODE)
        sync_folder(folder.parent)


def _change(
    tree: ReleaseTree, note: Note, wanted: Note, embargoed: list[Release]
) -> folders.Change:
    """Return what leads from what is there to what has to be, by the paths that may differ."""
    between = folders.change_between(tree, note.revision, wanted.revision)
    differ = {*note.releases, *wanted.releases}
    if note.whole:
        differ -= {*note.releases} & {*wanted.releases}
    rows = ReleaseFile.objects.filter(release__tree=tree, release__number__in=differ)
    paths = set(rows.values_list("path", flat=True))
    paths |= {*between.files, *between.aliases, *between.gone}
    asked = list(paths)
    files = dict(
        files_of(tree, wanted.revision).filter(path__in=asked).values_list("path", "blob_id")
    )
    aliases = dict(
        aliases_of(tree, wanted.revision).filter(path__in=asked).values_list("path", "target")
    )
    for release in embargoed:
        ahead = ReleaseFile.objects.filter(release=release, path__in=asked)
        for path, sha256, text in ahead.values_list("path", "blob_id", "target"):
            if sha256 is not None:
                files[path] = sha256
            elif (target := rules.target_of(path, text)) is not None:
                aliases[path] = target
    return folders.Change(files, aliases, paths - files.keys() - aliases.keys())


def _note_file(tree: ReleaseTree) -> Path:
    folder = folders.staging_folder(tree)
    return folder.with_name(f".{tree.name}.json")


def _read(tree: ReleaseTree) -> Note | None:
    try:
        return Note(**json.loads(_note_file(tree).read_text(encoding="ascii")))
    except (OSError, ValueError, TypeError):
        return None


def _write(tree: ReleaseTree, note: Note) -> None:
    file = _note_file(tree)
    partial = file.with_name(f"{file.name}.new")
    with partial.open("w", encoding="ascii") as out:
        json.dump(asdict(note), out)
        out.flush()
        os.fsync(out.fileno())
    partial.replace(file)
    sync_folder(file.parent)
