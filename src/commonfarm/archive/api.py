"""The API of the archive."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from ninja import Field, Query, Router, Schema

from commonfarm.accounts.interface import Role
from commonfarm.archive import tree_api
from commonfarm.archive.adding import ask_publication
from commonfarm.archive.models import Artifact, Entry, Publication
from commonfarm.archive.trees import current_revision
from commonfarm.estate.interface import ReleaseTree, Repository
from commonfarm.http.interface import Page, Paging, newest_first, require
from commonfarm.lib.errors import NotFoundError, Reason
from commonfarm.store.interface import read

router = Router(tags=["archive"])
router.add_router("/trees", tree_api.router)

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, Field(max_length=100, pattern=r"^[^\x00]+$")]
# PostgreSQL's bigint; a larger one would be an error there instead of "not found".
Id = Annotated[int, Field(ge=1, le=2**63 - 1)]


class RepositoryShown(Schema):
    """A repository, and the distributions it has packages of."""

    name: str
    tree: str
    path: str
    valid_seconds: int
    revision: int
    distributions: list[str]
    packages: int


class ArtifactShown(Schema):
    """A file that was built; `paths` is where repositories have it."""

    id: int
    filename: str
    sha256: str
    size: int
    producer: str
    package: str
    version: str
    architecture: str
    created_at: datetime
    has_provenance: bool
    paths: list[str]


class PublicationShown(Schema):
    """A revision of a tree; `problem` is why it waits or failed."""

    id: int
    tree: str
    revision: int
    state: str
    why: str
    problem: str
    created_at: datetime
    published_at: datetime | None


class ArtifactsOf(Paging):
    """Which artifacts: with these bytes, of this producer, or all."""

    sha256: Sha256 | None = None
    producer: Name | None = None


class PublicationsOf(Paging):
    """Whose publications."""

    tree: Name | None = None


class WhyPublish(Schema):
    """Why the tree is published anew."""

    why: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]*$")]


@router.get("/repositories", response=list[RepositoryShown])
def repositories(request: HttpRequest) -> list[dict[str, Any]]:
    """List the repositories."""
    require(request, Role.READER)
    rows = Repository.objects.filter(retired_at=None).select_related("tree").order_by("name")
    return [show_repository(row) for row in rows]


@router.get("/artifacts", response=Page[ArtifactShown])
def artifacts(request: HttpRequest, asked: Query[ArtifactsOf]) -> dict[str, Any]:
    """List artifacts, newest first."""
    require(request, Role.READER)
    rows = Artifact.objects.select_related("blob")
    if asked.sha256 is not None:
        rows = rows.filter(blob_id=asked.sha256)
    if asked.producer is not None:
        rows = rows.filter(producer=asked.producer)
    return newest_first(rows, asked, show_artifact)


@router.get("/artifacts/{id}", response=ArtifactShown)
def artifact(request: HttpRequest, id: Id) -> dict[str, Any]:  # noqa: A002 - the path's name
    """Show one artifact."""
    require(request, Role.READER)
    return show_artifact(_artifact(id))


@router.get("/artifacts/{id}/provenance", response=dict[str, Any])
def provenance(request: HttpRequest, id: Id) -> HttpResponse:  # noqa: A002 - the path's name
    """Return the signed provenance of one artifact: a DSSE envelope."""
    require(request, Role.READER)
    found = _artifact(id)
    if found.provenance_id is None:
        raise NotFoundError(
            Reason(
                "no-provenance-yet",
                f"the provenance of {found.filename} is not signed yet",
                "wait until it is published",
            )
        )
    envelope = json.loads(read(found.provenance_id))
    return HttpResponse(json.dumps(envelope), content_type="application/json")


@router.get("/publications", response=Page[PublicationShown])
def publications(request: HttpRequest, asked: Query[PublicationsOf]) -> dict[str, Any]:
    """List publications, newest first."""
    require(request, Role.READER)
    rows = Publication.objects.select_related("tree")
    if asked.tree is not None:
        rows = rows.filter(tree__name=asked.tree)
        if not rows.exists():
            ReleaseTree.named(asked.tree)  # raises where there is none; a retired one keeps its own
    return newest_first(rows, asked, show_publication)


@router.post("/trees/{name}/publish", response=PublicationShown)
def publish(request: HttpRequest, name: Name, body: WhyPublish) -> dict[str, Any]:
    """Publish a tree anew, with fresh dates and signatures."""
    user = require(request, Role.COORDINATOR)
    return show_publication(ask_publication(ReleaseTree.named(name), body.why, who=user.label))


def show_repository(row: Repository) -> dict[str, Any]:
    """Return a repository as the API shows it."""
    entries = Entry.objects.filter(repository=row)
    return {
        "name": row.name,
        "tree": row.tree.name,
        "path": row.path,
        "valid_seconds": row.valid_seconds,
        "revision": current_revision(row.tree),
        "distributions": sorted(set(entries.values_list("distribution", flat=True))),
        "packages": entries.count(),
    }


def show_artifact(row: Artifact) -> dict[str, Any]:
    """Return an artifact as the API shows it."""
    entries = Entry.objects.filter(artifact=row).select_related("repository__tree")
    return {
        "id": row.pk,
        "filename": row.filename,
        "sha256": row.blob_id,
        "size": row.blob.size,
        "producer": row.producer,
        "package": row.package,
        "version": row.version,
        "architecture": row.architecture,
        "created_at": row.created_at,
        "has_provenance": row.provenance_id is not None,
        "paths": [
            f"{one.repository.tree.name}/{one.repository.path}/{one.path}" for one in entries
        ],
    }


def show_publication(row: Publication) -> dict[str, Any]:
    """Return a publication as the API shows it."""
    return {
        "id": row.pk,
        "tree": row.tree.name,
        "revision": row.revision,
        "state": row.state,
        "why": row.why,
        "problem": row.problem,
        "created_at": row.created_at,
        "published_at": row.published_at,
    }


def _artifact(number: int) -> Artifact:
    found = Artifact.objects.select_related("blob").filter(pk=number).first()
    if found is None:
        raise NotFoundError(
            Reason("no-such-artifact", f"there is no artifact {number}", "list the artifacts")
        )
    return found
