"""A folder of a release tree, as one would list it: folders first, then files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db import connection

from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.errors import NotFoundError, Reason

MOST_ENTRIES = 1000


@dataclass(frozen=True, slots=True)
class Folder:
    """A name in a folder that is a folder itself: how many files lie in it, and their bytes."""

    name: str
    files: int
    size: int


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds; `more` entries are not told."""

    folders: list[Folder]
    files: list[dict[str, Any]]
    more: int


_QUERY = """
SELECT split_part(substr(path, %(skip)s), '/', 1) AS name,
       position('/' IN substr(path, %(skip)s)) > 0 AS is_folder,
       count(*), sum(size), min(sha256), count(*) OVER ()
FROM archive_treefile
WHERE tree_id = %(tree)s AND since_revision <= %(revision)s
  AND (until_revision IS NULL OR until_revision > %(revision)s)
  AND (leaving_revision IS NULL OR leaving_revision > %(revision)s)
  AND path ~>=~ %(low)s AND path ~<~ %(high)s
GROUP BY 1, 2 ORDER BY 2 DESC, 1 LIMIT %(most)s
"""


def folder_of(tree: ReleaseTree, revision: int, below: str) -> Listing:
    """Return what lies directly below a folder ("" is the tree); NotFoundError if nothing does."""
    asked: dict[str, str | int] = {
        "skip": len(below) + 2 if below else 1,
        "tree": tree.pk,
        "revision": revision,
        "low": f"{below}/" if below else "",
        "most": MOST_ENTRIES,
        "high": f"{below}0" if below else "\U0010fffd",
    }
    with connection.cursor() as cursor:
        cursor.execute(_QUERY, asked)
        rows = cursor.fetchall()
    if not rows and below:
        raise NotFoundError(
            Reason("no-such-folder", f"the tree has no folder {below[:200]!r}", "look at its list")
        )
    return Listing(
        [Folder(name, count, size) for name, is_folder, count, size, *_ in rows if is_folder],
        [
            {"name": name, "size": size, "sha256": sha256}
            for name, is_folder, _, size, sha256, _ in rows
            if not is_folder
        ],
        rows[0][-1] - len(rows) if rows else 0,
    )
