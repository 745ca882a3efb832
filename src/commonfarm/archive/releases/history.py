"""What came, went and changed: between revisions, of a release, between trees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

from django.db.models import Q

from commonfarm.archive.models import Publication, PublicationState, Release, TreeAlias, TreeFile
from commonfarm.archive.releases import checking
from commonfarm.archive.trees import aliases_of, current_revision, listed_files
from commonfarm.estate.interface import ReleaseTree

File = tuple[str, int]
"""SHA-256 and size in bytes."""


@dataclass(frozen=True, slots=True)
class Contents:
    """Files and aliases by path; or of these only the ones that may differ."""

    files: Mapping[str, File]
    aliases: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to be done to the first to have the second; each list of paths is sorted.

    `aliases` maps a path to what it led to and what it leads to, empty where it was or is none.
    `bytes_new` is what has to be fetched for new and changed files, `bytes_gone` what is no longer
    needed.
    """

    new: list[str]
    gone: list[str]
    changed: list[str]
    aliases: dict[str, tuple[str, str]]
    bytes_new: int
    bytes_gone: int

    def shown(self) -> dict[str, object]:
        """Return it as JSON holds it."""
        return asdict(self)

    def __bool__(self) -> bool:
        return bool(self.new or self.gone or self.changed or self.aliases)


def compare(old: Contents, new: Contents) -> Difference:
    """Return what differs; pure."""
    came = sorted(new.files.keys() - old.files.keys())
    gone = sorted(old.files.keys() - new.files.keys())
    changed = sorted(
        path
        for path in old.files.keys() & new.files.keys()
        if old.files[path][0] != new.files[path][0]
    )
    return Difference(
        new=came,
        gone=gone,
        changed=changed,
        aliases={
            path: (old.aliases.get(path, ""), new.aliases.get(path, ""))
            for path in sorted(old.aliases.keys() | new.aliases.keys())
            if old.aliases.get(path) != new.aliases.get(path)
        },
        bytes_new=sum(new.files[path][1] for path in (*came, *changed)),
        bytes_gone=sum(old.files[path][1] for path in (*gone, *changed)),
    )


def between_revisions(tree: ReleaseTree, old: int, new: int) -> Difference:
    """Compare two revisions of a tree; the cost is that of what came and went between them.

    Withdrawn files are gone, though they may lie there for a while.
    """
    low, high = sorted((old, new))

    def moved(column: str) -> Q:
        return Q(**{f"{column}__gt": low, f"{column}__lte": high})

    files = TreeFile.objects.filter(
        moved("since_revision") | moved("until_revision") | moved("leaving_revision"), tree=tree
    )
    paths = list(files.values_list("path", flat=True))
    aliases = TreeAlias.objects.filter(moved("since_revision") | moved("until_revision"), tree=tree)
    names = list(aliases.values_list("path", flat=True))
    return compare(_of(tree, old, paths, names), _of(tree, new, paths, names))


def of_release(release: Release) -> Difference:
    """Compare the tree as it is now with what it will be once the release is public."""
    content = checking.content_of(release)
    paths, names = list(content.files), list(content.texts)
    now = _of(release.tree, current_revision(release.tree), paths, names)
    return compare(now, Contents(content.files, content.targets))


def between_trees(old: ReleaseTree, new: ReleaseTree) -> Difference:
    """Compare what two trees have now: what is missing in the first, as before a promotion."""
    return compare(_of(old, current_revision(old)), _of(new, current_revision(new)))


def revisions(tree: ReleaseTree) -> list[Publication]:
    """Return what users have seen and what was tried, the newest first, with their releases."""
    rows = Publication.objects.filter(tree=tree).order_by("-revision")
    return list(rows.prefetch_related("releases", "withdrawals"))


def contents(tree: ReleaseTree, revision: int) -> Contents:
    """Return all that a revision consists of."""
    return _of(tree, revision)


def was_seen(tree: ReleaseTree, revision: int) -> bool:
    """Say whether users saw a revision at some time: revision 0 is the tree before its first."""
    published = Publication.objects.filter(tree=tree, state=PublicationState.PUBLISHED)
    return revision == 0 or published.filter(revision=revision).exists()


def _of(
    tree: ReleaseTree,
    revision: int,
    paths: list[str] | None = None,
    names: list[str] | None = None,
) -> Contents:
    files, aliases = listed_files(tree, revision), aliases_of(tree, revision)
    if paths is not None:
        files = files.filter(path__in=paths)
    if names is not None:
        aliases = aliases.filter(path__in=names)
    return Contents(
        {
            path: (sha256, size)
            for path, sha256, size in files.values_list("path", "sha256", "size")
        },
        dict(aliases.values_list("path", "target")),
    )
