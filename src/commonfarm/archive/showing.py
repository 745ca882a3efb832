"""Trees and releases as API and pages show them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from django.conf import settings
from django.core.cache import cache
from django.db.models import Count, Q, QuerySet, Sum

from commonfarm.accounts.interface import Role, User
from commonfarm.archive import manifest
from commonfarm.archive.adoption.reading import unread
from commonfarm.archive.models import (
    UNFINISHED,
    Adoption,
    Publication,
    PublicationState,
    Release,
    ReleaseFile,
    ReleaseState,
)
from commonfarm.archive.releases.history import Difference
from commonfarm.archive.trees import aliases_of, current_revision, listed_files
from commonfarm.estate.interface import ReleaseTree

KEPT_SECONDS = 600
"""To count a million files takes the database half a second, and pages ask every ten."""
WAITING = (ReleaseState.OPEN, ReleaseState.UNLISTED, ReleaseState.REVIEWED, ReleaseState.EMBARGOED)


def told_to(user: User) -> QuerySet[Release]:
    """Return the releases that a user may know of: readers those that are or were public."""
    if user.may(Role.SUBMITTER):
        return Release.objects.all()
    was_public = Q(state=ReleaseState.WITHDRAWN, publication__isnull=False)
    return Release.objects.filter(Q(state=ReleaseState.PUBLIC) | was_public)


def show_tree(tree: ReleaseTree, user: User) -> dict[str, Any]:
    """Return a tree: its policy, what users see of it, and what waits."""
    names = ("name", "environment", "promotes_to", "review", "adopts")
    seconds = ("origin_only_seconds", "grace_seconds", "valid_seconds")
    revision = current_revision(tree)
    public = Publication.objects.filter(
        tree=tree, revision=revision, state=PublicationState.PUBLISHED
    ).first()
    return {
        **{name: getattr(tree, name) for name in (*names, *seconds)},
        "revision": revision,
        "published_at": public.published_at if public else None,
        **(_content(tree, public) if public else {"files": 0, "size": 0, "aliases": 0}),
        "waiting": Release.objects.filter(tree=tree, state__in=WAITING).count(),
        "problem": _problem(tree),
        "address": f"{settings.COMMONFARM.public_url('redirector')}/{quote(tree.name)}/",
        "adoption": show_adoption(tree, user) if tree.adopts else None,
    }


def _content(tree: ReleaseTree, public: Publication) -> dict[str, int]:
    """Return how much a revision holds, its manifest aside; that never changes."""
    key = f"tree-content-{public.pk}"
    found: dict[str, int] | None = cache.get(key)
    if found is None:
        files = listed_files(tree, public.revision).order_by()
        if not tree.adopts:
            files = files.exclude(path__startswith=f"{manifest.FOLDER}/")
        counted = files.aggregate(files=Count("pk"), size=Sum("size"))
        aliases = aliases_of(tree, public.revision).count()
        found = {"files": counted["files"], "size": counted["size"] or 0, "aliases": aliases}
        cache.set(key, found, KEPT_SECONDS)
    return found


def show_adoption(tree: ReleaseTree, user: User) -> dict[str, Any]:
    """Return what was found in the folder of an adopted tree when it was looked at last.

    What is wrong there, readers are told as a number: what not all may read may be kept for later.
    """
    found = Adoption.objects.filter(tree=tree).first() or Adoption(tree=tree, folder=tree.adopts)
    names = (
        "looks",
        "asked",
        "answered",
        "looked_at",
        "took_seconds",
        "next_at",
        "files",
        "waiting",
        "stopped",
    )
    return {
        **{name: getattr(found, name) for name in names},
        "unread": unread(tree).count(),
        "problems": found.problems if user.may(Role.SUBMITTER) else [],
        "problem_count": found.problem_count,
    }


def _problem(tree: ReleaseTree) -> str:
    """Return why what comes next does not come, empty if it does."""
    newest = Publication.objects.filter(tree=tree).order_by("-revision").first()
    if newest is None or newest.state not in (*UNFINISHED, PublicationState.FAILED):
        return ""
    return newest.problem


def show_release(release: Release) -> dict[str, Any]:
    """Return a release: how far it is, and what would take it further."""
    names = ("number", "title", "state", "origin", "put_by", "put_at", "why")
    more = ("reviewed_by", "reviewed_at", "visible_from")
    rows = ReleaseFile.objects.filter(release=release)
    counted = rows.filter(target="").aggregate(files=Count("pk"), size=Sum("blob__size"))
    back = release.withdrawn_by_publication
    return {
        **{name: getattr(release, name) for name in (*names, *more)},
        "tree": release.tree.name,
        "files": counted["files"],
        "aliases": rows.exclude(target="").count(),
        "size": counted["size"] or 0,
        "revision": release.publication.revision if release.publication else None,
        "withdrawn_revision": back.revision if back else None,
        "next": next_step(release),
        "address": f"{settings.COMMONFARM.public_url('redirector')}/{quote(release.tree.name)}/"
        if release.state == ReleaseState.PUBLIC
        else "",
    }


def show_release_file(row: ReleaseFile) -> dict[str, Any]:
    """Return a file of a release, or an alias."""
    return {
        "path": row.path,
        "size": row.blob.size if row.blob else 0,
        "sha256": row.blob_id or "",
        "target": row.target,
    }


def next_step(release: Release) -> str:
    """Return whom or what a release waits for, empty where it waits for nothing."""
    name, number = release.tree.name, release.number
    if release.waits_for_publication:
        return f"wait: revision {release.publication.revision} is being published"  # type: ignore[union-attr]
    match release.state:
        case ReleaseState.OPEN:
            return f"{release.put_by} is putting it; cut off, put it again: commonfarm tree put"
        case ReleaseState.UNLISTED:
            by = f" other than {release.put_by}" if release.tree.review == "other" else ""
            return f"a coordinator{by} looks at it: commonfarm tree review {name} {number}"
        case ReleaseState.REVIEWED:
            return f"a coordinator publishes it: commonfarm tree publish {name} {number}"
        case ReleaseState.EMBARGOED:
            return f"wait: it is public from {release.visible_from:%Y-%m-%d %H:%M:%S} UTC on"
        case ReleaseState.PUBLIC if release.withdrawn_by_publication is not None:
            return f"wait: revision {release.withdrawn_by_publication.revision} takes it back"
    return ""


def show_difference(found: Difference, most: int) -> dict[str, Any]:
    """Return counts of what differs, and the first `most` paths of each kind.

    Not of the manifest, which differs between any two.
    """
    ours = f"{manifest.FOLDER}/"
    every = {"new": found.new, "changed": found.changed, "gone": found.gone}
    kinds = {
        kind: [path for path in paths if not path.startswith(ours)] for kind, paths in every.items()
    }
    aliases = [{"path": path, "old": old, "new": new} for path, (old, new) in found.aliases.items()]
    return {
        **{kind: len(paths) for kind, paths in kinds.items()},
        **{f"{kind}_paths": paths[:most] for kind, paths in kinds.items()},
        "aliases": aliases[:most],
        "bytes_new": found.bytes_new,
        "bytes_gone": found.bytes_gone,
        "not_told": sum(
            max(count - most, 0) for count in (*map(len, kinds.values()), len(aliases))
        ),
    }
