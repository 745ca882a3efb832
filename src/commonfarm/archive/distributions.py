"""What a revision of a tree holds, by the tables: the distributions of its repositories.

The step that assembles and the signer that approves both call this, each in its own process. Both
ask for what a revision adds to the one before, where they can: its cost is then that of the new.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Count

from commonfarm.archive import index
from commonfarm.archive.models import Entry, Publication
from commonfarm.estate.interface import Project, Repository, Target

COMPONENT = "main"


@dataclass(frozen=True, slots=True)
class Distribution:
    """One distribution of a repository.

    `entries` are those that were asked for, all or the new ones; `counts` says how many of each
    architecture the revision has in all.
    """

    repository: Repository
    suite: str
    architectures: tuple[str, ...]
    counts: Mapping[str, int]
    entries: tuple[Entry, ...]

    @property
    def folder(self) -> str:
        """Where its indexes lie, below the tree."""
        return f"{self.repository.path}/dists/{self.suite}"

    def packages_path(self, architecture: str) -> str:
        """Return the path of an index, below `folder`."""
        return f"{COMPONENT}/binary-{architecture}/Packages"

    def packages(self, architecture: str) -> bytes:
        """Return the Packages index of `entries` of one architecture, those of `all` included."""
        return index.packages_text(
            index.Package(
                entry.artifact.control, entry.path, entry.artifact.blob.size, entry.artifact.blob_id
            )
            for entry in self.entries
            if self.lists(entry, architecture)
        )

    def lists(self, entry: Entry, architecture: str) -> bool:
        """Say whether the index of `architecture` lists `entry`."""
        return entry.artifact.architecture in (architecture, "all")

    def listed(self, architecture: str) -> int:
        """Return how many packages the whole index of one architecture lists."""
        return self.counts.get(architecture, 0) + self.counts.get("all", 0)

    def release(self, publication: Publication, files: Iterable[index.File]) -> bytes:
        """Return the Release file that lists `files`; `publication` was assembled."""
        assert publication.assembled_at is not None
        return index.release_text(
            index.Release(
                origin=f"Commonfarm {settings.COMMONFARM.name}",
                label=self.repository.name,
                suite=self.suite,
                date=publication.assembled_at,
                valid_seconds=self.repository.valid_seconds,
                architectures=self.architectures,
                components=(COMPONENT,),
            ),
            files,
        )


def of(publication: Publication, *, since: int = 0) -> list[Distribution]:
    """Return the distributions of a revision, with the entries that came after revision `since`.

    Entries are in the order of their adding. A suite that a project may publish into is there
    before its first package: apt can be pointed at it from the beginning.
    """
    repositories = list(Repository.objects.filter(tree=publication.tree).order_by("name"))
    later = Publication.objects.filter(
        tree=publication.tree, revision__gt=publication.revision
    ).values_list("pk", flat=True)
    # By plain numbers, so that the database sees how many it will be, and counts without sorting.
    had = Entry.objects.filter(repository__in=[one.pk for one in repositories])
    had = had.exclude(publication__in=list(later))
    counts: dict[tuple[int, str], dict[str, int]] = defaultdict(dict)
    for repository_id, suite, architecture, count in had.values_list(
        "repository_id", "distribution", "architecture"
    ).annotate(Count("pk")):
        counts[repository_id, suite][architecture] = count
    new: dict[tuple[int, str], list[Entry]] = defaultdict(list)
    entries = had.filter(publication__revision__gt=since).select_related("artifact__blob")
    for entry in entries.order_by("pk"):
        new[entry.repository_id, entry.distribution].append(entry)
    found = []
    for repository in repositories:
        wanted: dict[str, set[str]] = defaultdict(set)
        projects = Project.objects.filter(repository=repository, retired_at=None)
        targets = Target.objects.filter(projects__in=projects, retired_at=None)
        for suite, architecture in targets.values_list("suite", "architecture").distinct():
            wanted[suite].add(architecture)
        for (repository_id, suite), its in counts.items():
            if repository_id == repository.pk:
                wanted[suite].update(its)
        for suite in sorted(wanted):
            key = (repository.pk, suite)
            architectures = tuple(sorted(wanted[suite] - {"all"}))
            its_new = tuple(new.get(key, ()))
            found.append(
                Distribution(repository, suite, architectures, counts.get(key, {}), its_new)
            )
    return found
