"""What a publication does to the files and aliases that releases brought: a few statements of SQL.

Done when it is assembled, within that step's transaction, and done anew when it is assembled again:
what an earlier try of the same revision did is taken back first. Files of repositories and of the
manifest (rows without a release) are not touched.
"""

# ruff: noqa: S608 - parts of queries are constants of this file, values are given apart

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.db.models.functions import Now

from commonfarm.archive.events import AliasesEnded
from commonfarm.archive.models import Publication, Release, ReleaseFile, TreeAlias, TreeFile
from commonfarm.archive.releases import checking, rules
from commonfarm.archive.trees import add_aliases, origin_only_until
from commonfarm.journal.interface import record
from commonfarm.lib.errors import Reason, RefusedError

WHO = "process:worker"

PUBLIC = """
    SELECT id FROM archive_release
    WHERE tree_id = %(tree)s AND state = 'public' AND withdrawn_by_publication_id IS NULL
"""
"""SQL: the releases that are public, and that nobody takes back."""
_BRING = """
    INSERT INTO archive_treefile
        (tree_id, path, size, sha256, blob_id, release_id, changes, mirrors_from, since_revision)
    SELECT %(tree)s, r.path, b.size, b.sha256, b.sha256, r.release_id, r.path = ANY(%(changing)s),
           CASE WHEN r.path = ANY(%(changing)s) THEN NULL ELSE %(mirrors_from)s::timestamptz END,
           %(revision)s
    FROM archive_releasefile r JOIN store_blob b ON b.sha256 = r.blob_id
    WHERE r.release_id = %(release)s AND (%(only)s::text[] IS NULL OR r.path = ANY(%(only)s))
    AND NOT EXISTS (
        SELECT FROM archive_treefile t
        WHERE t.tree_id = %(tree)s AND t.path = r.path AND t.until_revision IS NULL)
"""
_REPLACED = """
    SELECT t.id FROM archive_releasefile r JOIN archive_treefile t
    ON t.tree_id = %(tree)s AND t.path = r.path AND t.until_revision IS NULL
    WHERE r.release_id = %(release)s
    AND (t.sha256 <> r.blob_id OR t.leaving_revision IS NOT NULL)
"""
_GOING = f"""
    SELECT t.id FROM archive_releasefile r JOIN archive_treefile t
    ON t.tree_id = %(tree)s AND t.path = r.path AND t.until_revision IS NULL
    WHERE r.release_id = %(release)s AND t.sha256 = r.blob_id AND NOT EXISTS (
        SELECT FROM archive_releasefile o
        WHERE o.path = r.path AND o.blob_id = r.blob_id AND o.release_id IN ({PUBLIC}))
"""
_OTHERS = f"""
    SELECT DISTINCT ON (o.path) o.path, o.release_id, o.target
    FROM archive_releasefile r
    JOIN archive_releasefile o ON o.path = r.path AND o.release_id IN ({PUBLIC})
    JOIN archive_release e ON e.id = o.release_id
    JOIN archive_publication p ON p.id = e.publication_id
    WHERE r.release_id = %(release)s AND r.blob_id IS DISTINCT FROM o.blob_id OR (
        r.release_id = %(release)s AND r.target <> o.target)
    ORDER BY o.path, p.revision DESC, e.number DESC
"""
_THEN = """
    archive_treefile t WHERE t.tree_id = %(tree)s AND t.release_id IS NOT NULL
    AND t.since_revision <= %(to)s AND (t.until_revision IS NULL OR t.until_revision > %(to)s)
    AND (t.leaving_revision IS NULL OR t.leaving_revision > %(to)s)
"""
_NOW = """
    archive_treefile n WHERE n.tree_id = %(tree)s AND n.release_id IS NOT NULL
    AND n.until_revision IS NULL
"""
_BRING_BACK = f"""
    INSERT INTO archive_treefile
        (tree_id, path, size, sha256, blob_id, release_id, changes, mirrors_from, since_revision)
    SELECT t.tree_id, t.path, t.size, t.sha256, t.blob_id, t.release_id, t.changes,
           CASE WHEN t.changes THEN NULL ELSE %(mirrors_from)s::timestamptz END, %(revision)s
    FROM {_THEN} AND NOT EXISTS (SELECT FROM {_NOW} AND n.path = t.path)
"""


def apply(publication: Publication, now: datetime) -> None:
    """Do all that a publication does to its tree: withdraw, roll back, bring, and end what is due.

    What an earlier try did was taken back before. RefusedError when a rollback cannot be.
    """
    leaving = list(publication.withdrawals.order_by("number"))
    for release in leaving:
        _withdraw(publication, release, now)
    if publication.rolls_back_to is not None:
        _roll_back(publication, publication.rolls_back_to, now)
    for release in publication.releases.order_by("number"):
        bring(publication, release, now)
    due = TreeFile.objects.filter(tree=publication.tree, leaves_at__lte=Now(), until_revision=None)
    due.update(until_revision=publication.revision)
    if leaving or publication.rolls_back_to is not None:
        _end_dangling(publication)


def take_back(publication: Publication) -> None:
    """Undo what this revision, which nobody saw, did to files and aliases of releases."""
    tree, revision = publication.tree, publication.revision
    files = TreeFile.objects.filter(tree=tree, release__isnull=False)
    files.filter(since_revision=revision).delete()
    files.filter(until_revision=revision).update(until_revision=None)
    files.filter(leaving_revision=revision).update(leaving_revision=None, leaves_at=None)
    aliases = TreeAlias.objects.filter(tree=tree)
    aliases.filter(since_revision=revision).delete()
    aliases.filter(until_revision=revision).update(until_revision=None)


def bring(publication: Publication, release: Release, now: datetime) -> None:
    """Make a release's files and aliases part of a revision.

    Mirrors had the time of its embargo, where there was one; else clients are sent to them once the
    tree's origin-only period is over.
    """
    _end(publication, _REPLACED, {"release": release.pk})
    _bring(publication, release.pk, release.visible_from or origin_only_until(publication, now))
    texts = ReleaseFile.objects.filter(release=release).exclude(target="")
    _point(publication, texts.values_list("path", "target"))


def _bring(
    publication: Publication,
    release: int,
    mirrors_from: datetime | None,
    only: list[str] | None = None,
) -> None:
    paths = ReleaseFile.objects.filter(release=release, target="").values_list("path", flat=True)
    patterns = publication.tree.changing
    changing = [path for path in paths if rules.changes(path, patterns)]
    values = {"changing": changing, "mirrors_from": mirrors_from, "only": only}
    _run(publication, _BRING, values | {"release": release})
    checking.learn_sizes("archive_treefile", len(paths))


def _withdraw(publication: Publication, release: Release, now: datetime) -> None:
    """Take a release's files out, but for those that another public one has as well.

    Where an alias or a file that changes was another release's before, that one's comes back.
    """
    before = _run(publication, _OTHERS, {"release": release.pk})
    back: dict[int, list[str]] = {}
    for path, other, target in before:
        if not target:
            back.setdefault(other, []).append(path)
    values = {
        "release": release.pk,
        "back": [path for paths in back.values() for path in paths],
    }
    if release.leaves_at_once:
        _end(publication, _GOING, values)
    else:
        _end(publication, f"{_GOING} AND t.path = ANY(%(back)s)", values)
        _leave(publication, f"{_GOING} AND t.leaving_revision IS NULL", values, now)
    for other, paths in back.items():
        _bring(publication, other, None, paths)
    again = {path: target for path, _, target in before if target}
    _point(publication, again.items())
    mine = dict(
        ReleaseFile.objects.filter(release=release)
        .exclude(target="")
        .exclude(path__in=list(again))
        .values_list("path", "target")
    )
    theirs = ReleaseFile.objects.filter(
        path__in=list(mine), release__in=_public(publication)
    ).values_list("path", flat=True)
    _end_aliases(
        publication,
        {path: rules.target_of(path, text) for path, text in mine.items() if path not in theirs},
    )


def _roll_back(publication: Publication, to: int, now: datetime) -> None:
    """Have the files and aliases of releases be those of revision `to`."""
    values = {"to": to, "mirrors_from": origin_only_until(publication, now)}
    differ = _run(
        publication,
        f"SELECT t.path FROM {_THEN} AND EXISTS"
        f" (SELECT FROM {_NOW} AND n.path = t.path AND n.sha256 <> t.sha256)",
        values,
    )
    for (path,) in differ:
        if not rules.changes(path, publication.tree.changing):
            raise RefusedError(
                Reason(
                    "other-bytes",
                    f"{path} had other bytes in revision {to}, and does not change in place",
                    "declare it under `changing` of the tree, or publish a new release",
                )
            )
    lies_there = f"SELECT n.id FROM {_NOW} AND EXISTS (SELECT FROM {_THEN} AND t.path = n.path"
    other = " AND (t.sha256 <> n.sha256 OR n.leaving_revision IS NOT NULL))"
    _end(publication, lies_there + other, values)
    too_much = f"SELECT n.id FROM {_NOW} AND n.leaving_revision IS NULL"
    too_much += f" AND NOT EXISTS (SELECT FROM {_THEN} AND t.path = n.path)"
    _leave(publication, too_much, values, now)
    _run(publication, _BRING_BACK, values)
    rows = TreeAlias.objects.filter(tree=publication.tree)
    then = {
        alias.path: alias.target
        for alias in rows.filter(since_revision__lte=to)
        if alias.until_revision is None or alias.until_revision > to
    }
    now_there = checking.current_aliases(publication.tree)
    _end_aliases(publication, {path: one for path, one in now_there.items() if path not in then})
    _set_targets(publication, then)


def _end_dangling(publication: Publication) -> None:
    """End the aliases that lead nowhere, now that files are gone."""
    ended: dict[str, str | None] = {}
    while True:
        aliases = checking.current_aliases(publication.tree)
        finals = {path: rules.follow(path, aliases) for path in aliases}
        missing = checking.absent(
            publication.tree, {final for final in finals.values() if final is not None}
        )
        dangling = {path: aliases[path] for path, final in finals.items() if final in missing}
        if not dangling:
            break
        _end_aliases(publication, dangling)
        ended |= dangling
    if ended:
        paths = sorted(ended)[: rules.MOST_TOLD]
        record(AliasesEnded(publication.label, paths=paths), who=WHO)


def _point(publication: Publication, texts: Iterable[tuple[str, str]]) -> None:
    """Have aliases lead where the text of their links says."""
    targets = {path: rules.target_of(path, text) for path, text in texts}
    _set_targets(publication, {path: one for path, one in targets.items() if one is not None})


def _set_targets(publication: Publication, targets: dict[str, str]) -> None:
    now = TreeAlias.objects.filter(tree=publication.tree, until_revision=None)
    there = dict(now.filter(path__in=list(targets)).values_list("path", "target"))
    new = {path: target for path, target in targets.items() if there.get(path) != target}
    _end_aliases(publication, {path: there[path] for path in new if path in there})
    add_aliases(publication, new)


def _end_aliases(publication: Publication, targets: Mapping[str, str | None]) -> None:
    """End the aliases at these paths, where they still lead to these targets."""
    rows = TreeAlias.objects.filter(
        tree=publication.tree, until_revision=None, path__in=list(targets)
    )
    ending = [alias.pk for alias in rows if alias.target == targets[alias.path]]
    rows = TreeAlias.objects.filter(pk__in=ending)
    rows.filter(since_revision=publication.revision).delete()
    rows.filter(since_revision__lt=publication.revision).update(until_revision=publication.revision)


def _end(publication: Publication, numbers: str, values: dict[str, Any]) -> None:
    """End the files whose numbers a query finds; of this very revision's nobody saw anything."""
    own = f"DELETE FROM archive_treefile WHERE since_revision = %(revision)s AND id IN ({numbers})"
    _run(publication, own, values)
    _run(
        publication,
        f"UPDATE archive_treefile SET until_revision = %(revision)s WHERE id IN ({numbers})",
        values,
    )


def _leave(publication: Publication, numbers: str, values: dict[str, Any], now: datetime) -> None:
    """Have files leave: out of the manifest now, and gone when the tree's grace is over."""
    grace = publication.tree.grace_seconds
    if not grace:
        _end(publication, numbers, values)
        return
    _run(
        publication,
        "UPDATE archive_treefile SET leaving_revision = %(revision)s, leaves_at = %(leaves_at)s"
        f" WHERE id IN ({numbers})",
        values | {"leaves_at": now + timedelta(seconds=grace)},
    )


def _public(publication: Publication) -> Any:
    return Release.objects.filter(
        tree=publication.tree, state="public", withdrawn_by_publication=None
    )


def _run(publication: Publication, query: str, values: dict[str, Any]) -> list[tuple[Any, ...]]:
    given = {"tree": publication.tree_id, "revision": publication.revision}
    with connection.cursor() as cursor:
        cursor.execute(query, given | values)
        return list(cursor.fetchall()) if cursor.description else []
