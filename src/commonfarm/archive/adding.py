"""Adding what a build has made: all of it or nothing, and never other bytes at a published path."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from debian.debian_support import Version
from django.db import transaction

from commonfarm.archive import deb, index, provenance
from commonfarm.archive.distributions import COMPONENT
from commonfarm.archive.events import PackagesAdded, PublicationAsked
from commonfarm.archive.models import Artifact, Entry, Publication
from commonfarm.archive.publishing import next_publication
from commonfarm.estate.interface import Project, ReleaseTree, Repository, Target
from commonfarm.journal.interface import record
from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError
from commonfarm.lib.paths import is_file_name
from commonfarm.store.interface import Blob, blob_path, path_of


@dataclass(frozen=True, slots=True)
class NewArtifact:
    """A file that a producer has brought, and the SHA-256 it is stored under."""

    filename: str
    blob_sha256: str


class Outcome(StrEnum):
    """What became of a file."""

    ADDED = "added"
    IDENTICAL = "identical"
    DIFFERS = "differs"
    KEPT = "kept"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one file; `path` is where it lies in the repository, empty if nowhere."""

    filename: str
    verdict: Outcome
    path: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class _Candidate:
    new: NewArtifact
    control: deb.Control | None
    path: str


def add_build(
    producer: str,
    project: Project,
    target: Target,
    files: Sequence[NewArtifact],
    statement_facts: dict[str, Any],
    *,
    who: str,
) -> list[Verdict]:
    """Add the binary packages among `files` to the project's repository, and have it published.

    Returns one verdict per file: `added`; `identical` to what was published before, so dropped;
    `differs`, published before with other bytes, so that nothing of this build is added; or `kept`
    as an artifact only. A producer that was added before gets the same answer and changes nothing.
    Raises BadInputError for a package that is not what it says and for facts of which no statement
    can be made, RefusedError for a version lower than the published one.
    """
    _check_facts(statement_facts)
    candidates = _examine(files, target)
    with transaction.atomic():
        repository = project.repository
        if repository is not None:
            # One producer at a time: what is published must not change between look and entry.
            ReleaseTree.locked(repository.tree_id)
        artifacts = _artifacts(producer, candidates, statement_facts)
        if repository is None:
            return [Verdict(one.new.filename, Outcome.KEPT) for one in candidates]
        verdicts = _judge(candidates, repository, producer)
        if any(one.verdict is Outcome.DIFFERS for one in verdicts):
            return [
                Verdict(one.filename, Outcome.KEPT, version=one.version)
                if one.verdict is Outcome.ADDED
                else one
                for one in verdicts
            ]
        known = set(
            Entry.objects.filter(artifact__producer=producer).values_list("path", flat=True)
        )
        added = [one for one in verdicts if one.verdict is Outcome.ADDED and one.path not in known]
        added = list({one.path: one for one in added}.values())
        if added:
            _refuse_steps_back([artifacts[one.filename] for one in added], repository, target.suite)
            publication = next_publication(repository.tree, f"{producer} adds packages")
            Entry.objects.bulk_create(
                Entry(
                    repository=repository,
                    distribution=target.suite,
                    component=COMPONENT,
                    architecture=artifacts[one.filename].architecture,
                    artifact=artifacts[one.filename],
                    path=one.path,
                    publication=publication,
                )
                for one in added
            )
            _record_added(publication, producer, added, who)
        return verdicts


def ask_publication(tree: ReleaseTree, why: str, *, who: str) -> Publication:
    """Have a new revision made of what there is: a fresh date, fresh signatures."""
    with transaction.atomic():
        ReleaseTree.locked(tree.pk)
        publication = next_publication(tree, why)
        record(PublicationAsked(publication.label), who=who, why=why)
    return publication


def publication_of(producer: str) -> Publication | None:
    """Return the revision that made this producer's packages visible, or None."""
    return Publication.objects.filter(entries__artifact__producer=producer).order_by("pk").first()


def _check_facts(facts: dict[str, Any]) -> None:
    """Make the statement that the signer will make: where it fails, nothing can be published."""
    try:
        size = len(provenance.encode(provenance.statement("", "", facts)))
    except Exception as error:  # the facts are the builder's, and so is whatever they do here
        fault = f"no statement can be made of them: {type(error).__name__}: {str(error)[:200]}"
        raise BadInputError(Problem("facts", 0, 0, fault, "mend the builder")) from None
    if size > provenance.MOST_STATEMENT_BYTES:
        fault = f"their statement has {size} bytes, more than {provenance.MOST_STATEMENT_BYTES}"
        raise BadInputError(Problem("facts", 0, 0, fault, "install less in the build"))


def _examine(files: Sequence[NewArtifact], target: Target) -> list[_Candidate]:
    """Read what the packages say of themselves, as many at once as there are processors."""
    for new in files:
        if not is_file_name(new.filename):
            raise BadInputError(
                Problem(new.filename[:80], 0, 0, "it has an odd name", "use a plain file name")
            )
    stored = Blob.objects.in_bulk([new.blob_sha256 for new in files])
    for new in files:
        if new.blob_sha256 not in stored:
            path_of(new.blob_sha256)  # says that it is not there

    def examine(new: NewArtifact) -> _Candidate:
        if not new.filename.endswith(".deb"):
            return _Candidate(new, None, "")
        file = blob_path(new.blob_sha256)
        control = deb.read_control(file, new.filename, target.architecture)
        path = index.pool_path(target.suite, COMPONENT, control.source, new.filename)
        return _Candidate(new, control, path)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(examine, files))


def _artifacts(
    producer: str, candidates: Sequence[_Candidate], facts: dict[str, Any]
) -> dict[str, Artifact]:
    """Return the artifacts' rows by file name; a producer cannot change what it brought before."""
    made = []
    for one in candidates:
        fields: dict[str, Any] = {"blob_id": one.new.blob_sha256, "statement": facts}
        if one.control is not None:
            fields |= {
                "package": one.control.package,
                "version": one.control.version,
                "architecture": one.control.architecture,
                "control": one.control.fields,
            }
        made.append(Artifact(producer=producer, filename=one.new.filename, **fields))
    Artifact.objects.bulk_create(made, ignore_conflicts=True)
    names = [one.new.filename for one in candidates]
    rows = Artifact.objects.filter(producer=producer, filename__in=names)
    artifacts = {artifact.filename: artifact for artifact in rows}
    for one in candidates:
        if artifacts[one.new.filename].blob_id != one.new.blob_sha256:
            raise RefusedError(
                Reason(
                    "artifact-changed",
                    f"{producer} brought {one.new.filename} before with other bytes",
                    "build again as a new job",
                )
            )
    return artifacts


def _judge(
    candidates: Sequence[_Candidate], repository: Repository, producer: str
) -> list[Verdict]:
    paths = [one.path for one in candidates if one.path]
    entries = {
        entry.path: entry.artifact
        for entry in Entry.objects.filter(repository=repository, path__in=paths).select_related(
            "artifact"
        )
    }
    verdicts = []
    for one in candidates:
        if one.control is None:
            verdicts.append(Verdict(one.new.filename, Outcome.KEPT))
            continue
        before = entries.get(one.path)
        if before is None or before.producer == producer:
            outcome = Outcome.ADDED
        elif before.blob_id == one.new.blob_sha256:
            outcome = Outcome.IDENTICAL
        else:
            outcome = Outcome.DIFFERS
        verdicts.append(Verdict(one.new.filename, outcome, one.path, one.control.version))
    return verdicts


def _refuse_steps_back(
    artifacts: Sequence[Artifact], repository: Repository, distribution: str
) -> None:
    published = defaultdict(set)
    for package, architecture, version in Entry.objects.filter(
        repository=repository,
        distribution=distribution,
        artifact__package__in={one.package for one in artifacts},
    ).values_list("artifact__package", "artifact__architecture", "artifact__version"):
        published[package, architecture].add(version)
    for new in artifacts:
        highest = max(published[new.package, new.architecture], key=Version, default=None)
        if highest is not None and Version(new.version) < Version(highest):
            raise RefusedError(
                Reason(
                    "version-goes-back",
                    f"{new.package} {new.version} is lower than {highest}, which is published",
                    f"build a version above {highest}",
                )
            )


def _record_added(
    publication: Publication, producer: str, added: Sequence[Verdict], who: str
) -> None:
    paths = [one.path for one in added]
    record(PackagesAdded(publication.label, producer, paths, publication.revision), who=who)
