"""What a look found becomes the next revision of its tree, in one transaction."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models import Max

from commonfarm.archive import ports
from commonfarm.archive.adoption.comparing import Judged
from commonfarm.archive.adoption.findings import Counts
from commonfarm.archive.events import Published
from commonfarm.archive.models import Publication, PublicationState, TreeAlias, TreeFile
from commonfarm.archive.releases import checking, rules
from commonfarm.archive.trees import add_aliases, origin_only_until
from commonfarm.estate.interface import ReleaseTree

KEPT_FOR = timedelta(days=7)
"""What was replaced or is gone is known so long at least: mirror maps are made from it."""

_END = """
    UPDATE archive_treefile SET until_revision = %(revision)s
    FROM adoption_gone WHERE id = adoption_gone.number
"""
_BRING = """
    INSERT INTO archive_treefile
        (tree_id, path, size, sha256, changes, modified_at, modified_ns, mirrors_from,
         since_revision)
    SELECT %(tree)s, path, size, '', changes, to_timestamp(modified_ns / 1e9), modified_ns,
           CASE WHEN changes THEN NULL ELSE %(mirrors_from)s::timestamptz END, %(revision)s
    FROM adoption_new
"""


def apply(
    tree: ReleaseTree,
    counts: Counts,
    judged: Judged,
    left: list[bytes],
    *,
    now: datetime,
    who: str,
) -> int | None:
    """Make a revision of what was found, and return its number; None when nothing differs.

    `left` are folders of which nothing is known now: their aliases stay. The tree's row is locked
    by the caller. Links that cannot be aliases are told in `judged`.
    """
    last = Publication.objects.filter(tree=tree).aggregate(Max("revision"))["revision__max"] or 0
    publication = Publication(tree=tree, revision=last + 1)
    differs = bool(counts.new or counts.changed or counts.gone)
    if differs:
        # What is there already when a tree is adopted, mirrors may have had for years.
        until = origin_only_until(publication, now) if last else None
        given = {"tree": tree.pk, "revision": publication.revision, "mirrors_from": until}
        with connection.cursor() as cursor:
            cursor.execute(_END, given)
            cursor.execute(_BRING, given)
    if not _bring_aliases(publication, judged, left) and not differs:
        return None
    publication.why = f"{counts} in {tree.adopts}"
    publication.save()
    event = Published(publication.label, counts.files)
    publication.reached(PublicationState.PUBLISHED, event, who=who, now=now)
    _forget(tree, publication.revision, now)
    ports.tree_published.get()(tree, publication.revision)
    return publication.revision


def _bring_aliases(publication: Publication, judged: Judged, left: list[bytes]) -> bool:
    """Have the aliases of a revision be the links that lead somewhere; say whether any differ."""
    targets: dict[str, str] = {}
    for path, text in judged.texts.items():
        if (target := rules.target_of(path, text)) is not None:
            targets[path] = target
    finals = {rules.follow(path, targets) for path in targets} - {None}
    missing = checking.absent(publication.tree, {one for one in finals if one is not None})
    problems = rules.alias_problems(judged.texts, targets, missing)
    judged.blame(*problems)
    bad = {problem.file for problem in problems}
    wanted = {path: one for path, one in targets.items() if rules.shown_path(path) not in bad}
    rows = TreeAlias.objects.filter(tree=publication.tree, until_revision=None)
    there = dict(rows.values_list("path", "target"))
    folders = [f"{one.decode(errors='replace')}/" for one in left]
    kept = {path for path in there if any(path.startswith(one) for one in folders)}
    ending = [path for path in there if wanted.get(path) != there[path] and path not in kept]
    coming = {path: one for path, one in wanted.items() if there.get(path) != one}
    rows.filter(path__in=ending).update(until_revision=publication.revision)
    add_aliases(publication, coming)
    return bool(ending or coming)


def _forget(tree: ReleaseTree, revision: int, now: datetime) -> None:
    """Remove what ended long ago: of a folder that changes all day there would be no end.

    A revision goes whose files are no longer known; not one that a release or package names, from
    when the tree was published.
    """
    old = Publication.objects.filter(tree=tree, published_at__lt=now - KEPT_FOR)
    newest: dict[str, Any] = old.aggregate(Max("revision"))
    until = min(newest["revision__max"] or 0, revision - tree.keep_revisions)
    TreeFile.objects.filter(tree=tree, until_revision__lte=until).delete()
    TreeAlias.objects.filter(tree=tree, until_revision__lte=until).delete()
    past = Publication.objects.filter(tree=tree, revision__lt=until)
    past.filter(releases=None, withdrawals=None, entries=None).delete()
