"""What is wrong with a release: in itself, and beside what its tree has and had.

Bulk questions are asked of the database in SQL, a few for a release however large it is.
"""

# ruff: noqa: S608 - parts of queries are constants of this file, values are given apart

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import Q

from commonfarm.archive.models import (
    UNFINISHED,
    Release,
    ReleaseFile,
    ReleaseState,
    TreeAlias,
    TreeFile,
)
from commonfarm.archive.releases import rules
from commonfarm.archive.releases.rules import shown_path
from commonfarm.estate.interface import ReleaseTree, Repository
from commonfarm.lib.errors import Problem

BELOW = "{path} ~>=~ ({folder} || '/') AND {path} ~<~ ({folder} || '0')"
"""SQL: a path lies below a folder. By bytes, as its index is: `0` is what follows the slash."""

MANY_ROWS = 2000


@dataclass(frozen=True, slots=True)
class Content:
    """What a release holds: SHA-256 and size of each file, and what each link says."""

    files: dict[str, tuple[str, int]]
    texts: dict[str, str]

    @property
    def targets(self) -> dict[str, str]:
        """The paths that the links stand for, of those that stay in the tree."""
        found = {path: rules.target_of(path, text) for path, text in self.texts.items()}
        return {path: target for path, target in found.items() if target is not None}


def content_of(release: Release) -> Content:
    """Return what a release holds."""
    rows = ReleaseFile.objects.filter(release=release)
    files = rows.filter(target="").values_list("path", "blob_id", "blob__size")
    texts = rows.exclude(target="").values_list("path", "target")
    return Content({path: (sha256, size) for path, sha256, size in files}, dict(texts))


def learn_sizes(table: str, rows: int) -> None:
    """Have the database see how much there is now, after many rows came at once.

    It finds out by itself within a minute, and until then may compare each path with each other.
    """
    if rows >= MANY_ROWS:
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {table}")


def problems(release: Release, content: Content) -> list[Problem]:
    """Return every fault of a release, as its tree stands now."""
    found = [one for path in content.files if (one := rules.path_problem(path))]
    found += [one for path in content.texts if (one := rules.path_problem(path))]
    found += rules.conflicts(content.files.keys(), content.texts.keys())
    repositories = Repository.objects.filter(tree=release.tree).values_list("path", flat=True)
    found += rules.reserved([*content.files, *content.texts], set(repositories))
    if len(content.texts) > rules.MOST_ALIASES:
        what = f"has {len(content.texts)} links, and {rules.MOST_ALIASES} are the most"
        found.append(Problem(release.label, 0, 0, what, "put files in their place"))
        return found
    return found + against_tree(release, content)


def against_tree(release: Release, content: Content) -> list[Problem]:
    """Return what is wrong with a release beside what its tree has now, and ever had."""
    found = [*_replaced(release), *_folders_now(release), *_behind_others(release, content)]
    aliases = current_aliases(release.tree) | content.targets
    finals = {path: rules.follow(path, aliases) for path in content.texts}
    folders = rules.all_folders(content.files)
    elsewhere = {
        one
        for one in finals.values()
        if one is not None and one not in content.files and one not in folders
    }
    missing = absent(release.tree, elsewhere)
    return found + rules.alias_problems(content.texts, aliases, missing)


def before_others(release: Release) -> list[Problem]:
    """Return the paths that other releases, embargoed or on their way, have with other bytes."""
    going = Q(state=ReleaseState.EMBARGOED) | Q(publication__state__in=UNFINISHED)
    others = Release.objects.filter(going, tree=release.tree).exclude(pk=release.pk)
    rows = _fetch(
        "SELECT mine.path, min(theirs.release_id)"
        " FROM archive_releasefile mine JOIN archive_releasefile theirs ON theirs.path = mine.path"
        " WHERE mine.release_id = %s AND theirs.release_id = ANY(%s)"
        " AND mine.blob_id IS DISTINCT FROM theirs.blob_id GROUP BY mine.path",
        [release.pk, list(others.values_list("pk", flat=True))],
    )
    names = {one.pk: one.label for one in others.select_related("tree")}
    return [
        Problem(
            path,
            0,
            0,
            f"is in {names[other]} with other bytes, which is to be published, too",
            "give it another name, or withdraw the other release",
        )
        for path, other in rows
        if not rules.changes(path, release.tree.changing)
    ]


def current_aliases(tree: ReleaseTree) -> dict[str, str]:
    """Return the aliases that a tree has now, as the newest revision has them."""
    rows = TreeAlias.objects.filter(tree=tree, until_revision=None)
    return dict(rows.values_list("path", "target"))


def absent(tree: ReleaseTree, paths: set[str]) -> set[str]:
    """Return those of `paths` that are neither a file of the tree now nor a folder of some."""
    if not paths:
        return set()
    there = "SELECT FROM archive_treefile t WHERE t.tree_id = %s AND t.until_revision IS NULL"
    there += " AND t.leaving_revision IS NULL AND "
    below = BELOW.format(path="t.path", folder="asked.path")
    rows = _fetch(
        "SELECT asked.path FROM unnest(%s::text[]) AS asked (path)"
        f" WHERE NOT EXISTS ({there} t.path = asked.path) AND NOT EXISTS ({there} {below})",
        [list(paths), tree.pk, tree.pk],
    )
    return {path for (path,) in rows}


def _replaced(release: Release) -> list[Problem]:
    """Published once, a path has one content for ever, whether it is still there or not."""
    rows = _fetch(
        "SELECT DISTINCT ON (new.path) new.path, old.since_revision"
        " FROM archive_releasefile new JOIN archive_treefile old"
        " ON old.tree_id = %s AND old.path = new.path"
        " WHERE new.release_id = %s AND old.sha256 <> new.blob_id"
        " ORDER BY new.path, old.since_revision DESC",
        [release.tree_id, release.pk],
    )
    return [
        Problem(
            path,
            0,
            0,
            f"was published in revision {revision} with other bytes, and a published file is"
            " never replaced",
            "give it another name (a version in it), or declare it under `changing` of the tree",
        )
        for path, revision in rows
        if not rules.changes(path, release.tree.changing)
    ]


def _folders_now(release: Release) -> list[Problem]:
    below = BELOW.format(path="t.path", folder="new.path")
    rows = _fetch(
        "SELECT new.path FROM archive_releasefile new WHERE new.release_id = %s AND EXISTS ("
        " SELECT FROM archive_treefile t WHERE t.tree_id = %s AND t.until_revision IS NULL"
        f" AND {below})",
        [release.pk, release.tree_id],
    )
    what, to_do = "is a folder of the tree, with files in it", "give it another name"
    return [Problem(path, 0, 0, what, to_do) for (path,) in rows]


def _behind_others(release: Release, content: Content) -> list[Problem]:
    """Files of the tree that would have to be folders, and aliases that would have to be."""
    mine = [*content.files, *content.texts]
    folders = list(rules.all_folders(mine))
    now = TreeFile.objects.filter(tree=release.tree, until_revision=None)
    files = set(now.filter(path__in=folders).values_list("path", flat=True))
    taken = set(now.filter(path__in=list(content.texts)).values_list("path", flat=True))
    aliases = current_aliases(release.tree)
    found = [
        Problem(path, 0, 0, "is a file of the tree, and would become a link", "name it otherwise")
        for path in taken
    ]
    found += [
        Problem(path, 0, 0, f"is a link of the tree, to {aliases[path]}", "give it another name")
        for path in content.files
        if path in aliases
    ]
    wrong = files | (set(folders) & aliases.keys())
    if not wrong:
        return found
    for path in mine:
        for folder in rules.folders_of(path):
            if folder in wrong:
                if folder in aliases:
                    what = f"lies behind {folder}, a link of the tree to {aliases[folder]}"
                    to_do = "put it where the link leads"
                else:
                    what = f"lies below {folder}, which is a file of the tree"
                    to_do = "rename its folder"
                found.append(Problem(shown_path(path), 0, 0, what, to_do))
                break
    return found


def _fetch(query: str, values: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())
