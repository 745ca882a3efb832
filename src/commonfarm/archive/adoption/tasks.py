"""When adopted folders are looked at and read."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime

from django.db import transaction
from django.utils import timezone
from procrastinate.contrib.django import app

from commonfarm.archive.adoption import looking, reading
from commonfarm.archive.adoption.models import Adoption
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import BusyError, alone, defer_once

READ_SECONDS = 20.0
AGAIN_SECONDS = 5


@app.task(name="archive.look_at_folder", queue="default")
def look_at_folder(tree_id: int) -> None:
    """Look at an adopted folder, and have read what is new there."""
    tree = ReleaseTree.objects.get(pk=tree_id)
    if not tree.adopts:
        return
    try:
        looking.look(tree, timezone.now())
    except BusyError:
        adoption = looking.adoption_of(tree)
        if adoption.asked > adoption.answered:  # what is under way may have begun before
            look_soon(tree, in_seconds=AGAIN_SECONDS)
    read_soon(tree)


@app.task(name="archive.read_folder", queue="default")
def read_folder(tree_id: int, after: int = 0) -> None:
    """Hash some files of an adopted tree, and have the next ones hashed behind others' work."""
    tree = ReleaseTree.objects.get(pk=tree_id)
    if not tree.adopts:
        return
    with suppress(BusyError), alone(f"reading of the tree {tree.name}", wait=False):
        further = reading.read_some(tree, after, READ_SECONDS)
        if further is not None:
            defer_once(read_folder, _reads(tree), tree_id=tree.pk, after=further)


def ask_for_look(tree: ReleaseTree, *, who: str, loss_is_meant: bool) -> None:
    """Have a folder looked at now, because a person wants that; RefusedError if there is none."""
    looking.refuse_unadopted(tree)
    with transaction.atomic():
        adoption = looking.adoption_of(tree)
        adoption.ask()
        if loss_is_meant:
            adoption.allow_loss(who=who)
        look_soon(tree)


def look_soon(tree: ReleaseTree, *, in_seconds: int = 0) -> None:
    """Have a folder looked at, once the surrounding transaction commits."""
    defer_once(look_at_folder, f"look-at-{tree.pk}", in_seconds=in_seconds, tree_id=tree.pk)


def read_soon(tree: ReleaseTree) -> None:
    """Have the hashes of new files made."""
    if reading.unread(tree).exists():
        defer_once(read_folder, _reads(tree), tree_id=tree.pk)


def look_at_due(now: datetime) -> int:
    """Have those folders looked at whose time has come; return how many."""
    due = 0
    for tree in ReleaseTree.objects.filter(retired_at=None).exclude(adopts=""):
        known = Adoption.objects.filter(tree=tree).first()
        if known is None or known.is_due(now):
            look_soon(tree)
            due += 1
        else:
            read_soon(tree)  # where a kill ended it
    return due


def _reads(tree: ReleaseTree) -> str:
    return f"read-folder-{tree.pk}"
