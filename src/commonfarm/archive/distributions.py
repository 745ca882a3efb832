"""What a revision of a tree holds, by the tables: the distributions of its repositories.

The step that assembles and the signer that approves both call this, each in its own process.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings

from commonfarm.archive import index
from commonfarm.archive.models import Entry, Publication
from commonfarm.estate.interface import Repository, Target

COMPONENT = "main"


@dataclass(frozen=True, slots=True)
class Distribution:
    """One distribution of a repository, with the entries that a revision has of it."""

    repository: Repository
    suite: str
    architectures: tuple[str, ...]
    entries: tuple[Entry, ...]

    @property
    def folder(self) -> str:
        """Where its indexes lie, below the tree."""
        return f"{self.repository.path}/dists/{self.suite}"

    def packages_path(self, architecture: str) -> str:
        """Return the path of an index, below `folder`."""
        return f"{COMPONENT}/binary-{architecture}/Packages"

    def packages(self, architecture: str) -> bytes:
        """Return the Packages index of one architecture, that of `all` included."""
        return index.packages_text(
            index.Package(
                entry.artifact.control, entry.path, entry.artifact.blob.size, entry.artifact.blob_id
            )
            for entry in self.entries
            if entry.artifact.architecture in (architecture, "all")
        )

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


def of(publication: Publication) -> list[Distribution]:
    """Return the distributions of a revision, each with its entries in the order of their adding.

    A suite that a project may publish into is there before its first package: apt can be pointed at
    it from the beginning.
    """
    entries = (
        Entry.objects.filter(
            repository__tree=publication.tree, publication__revision__lte=publication.revision
        )
        .select_related("artifact__blob")
        .order_by("pk")
    )
    grouped: dict[tuple[int, str], list[Entry]] = {}
    for entry in entries:
        grouped.setdefault((entry.repository_id, entry.distribution), []).append(entry)
    found = []
    for repository in Repository.objects.filter(tree=publication.tree).order_by("name"):
        wanted: dict[str, set[str]] = {}
        targets = Target.objects.filter(projects__repository=repository, retired_at=None)
        for suite, architecture in targets.values_list("suite", "architecture").distinct():
            wanted.setdefault(suite, set()).add(architecture)
        for repository_id, suite in grouped:
            if repository_id == repository.pk:
                wanted.setdefault(suite, set())
        for suite in sorted(wanted):
            its = tuple(grouped.get((repository.pk, suite), ()))
            architectures = wanted[suite] | {entry.artifact.architecture for entry in its}
            architectures.discard("all")
            found.append(Distribution(repository, suite, tuple(sorted(architectures)), its))
    return found
