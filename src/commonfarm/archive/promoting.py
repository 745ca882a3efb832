"""Promotion: what is public in one tree becomes a release of the tree of the next environment.

Within an installation no bytes are moved, since both trees point into one store.
"""

from __future__ import annotations

import posixpath
from datetime import datetime

from django.db import transaction

from commonfarm.archive.models import Release, ReleaseFile, ReleaseState
from commonfarm.archive.releases import lifecycle
from commonfarm.archive.trees import aliases_of, current_revision, listed_files
from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.errors import Reason, RefusedError


def promote(
    source: ReleaseTree, release: Release | None, to: str, *, who: str, now: datetime
) -> Release:
    """Make a closed release of the tree `to` (the one that `source` promotes to) and return it.

    It brings what `release` of `source` brought, which has to be public; or, without one, all that
    `source` holds and the other tree does not. Raises RefusedError, and BadInputError as closing a
    release does.
    """
    target = _target(source, to)
    if release is not None and release.state != ReleaseState.PUBLIC:
        raise RefusedError(
            Reason(
                "not-public",
                f"{release.label} is {release.state}, and only what is public is promoted",
                "publish it first",
            )
        )
    files, aliases = _of_release(release) if release else _of_tree(source, target)
    if not files and not aliases:
        raise RefusedError(
            Reason(
                "nothing-to-promote",
                f"the tree {target.name} has all that {source.name} has",
                "publish something there first",
            )
        )
    origin = release.label if release else f"tree:{source.name}@{current_revision(source)}"
    title = release.title if release else ""
    with transaction.atomic():
        made = lifecycle.open_release(target, title=title, origin=origin, who=who)
        if files:
            lifecycle.add_files(made, files, owner=None)
        if aliases:
            lifecycle.add_aliases(made, aliases)
        lifecycle.close(made, who=who, now=now)
    return made


def _target(source: ReleaseTree, to: str) -> ReleaseTree:
    name = to or source.promotes_to
    if not name:
        raise RefusedError(
            Reason(
                "promotes-nowhere",
                f"the estate does not say to which tree {source.name} is promoted",
                "declare `promotes_to`, or name a tree with --to",
            )
        )
    if name == source.name:
        raise RefusedError(
            Reason("same-tree", f"{name} is the tree itself", "name another tree with --to")
        )
    return ReleaseTree.named(name)


def _of_release(release: Release) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    rows = ReleaseFile.objects.filter(release=release)
    files = rows.filter(target="").values_list("path", "blob_id")
    return list(files), list(rows.exclude(target="").values_list("path", "target"))


def _of_tree(
    source: ReleaseTree, target: ReleaseTree
) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Return what releases brought to `source` and `target` has not, as users see the two."""

    def of(tree: ReleaseTree) -> set[tuple[str, str]]:
        rows = listed_files(tree, current_revision(tree)).exclude(release=None)
        return set(rows.order_by().values_list("path", "sha256"))

    def aliases(tree: ReleaseTree) -> set[tuple[str, str]]:
        rows = aliases_of(tree, current_revision(tree))
        return {
            (path, posixpath.relpath(stands_for, posixpath.dirname(path) or "."))
            for path, stands_for in rows.values_list("path", "target")
        }

    return sorted(of(source) - of(target)), sorted(aliases(source) - aliases(target))
