"""The API of the estate."""

from __future__ import annotations

from datetime import datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Field, Router, Schema

from commonfarm.accounts.interface import Role
from commonfarm.estate.load import load_directory
from commonfarm.estate.models import Host, Pool, Project, ReleaseTree, Target
from commonfarm.http.interface import require
from commonfarm.lib.errors import BadInputError, ForbiddenError, Problem, Reason

router = Router(tags=["estate"])


class LoadIn(Schema):
    """Which directory of the hub's own machine to load."""

    directory: Annotated[str, Field(max_length=500, pattern=r"^[^\x00]+$")]


class LoadShown(Schema):
    """A load, and what it changed."""

    id: int
    at: datetime
    who: str
    origin: str
    digest: str
    changes: list[str]


class HostShown(Schema):
    """A host."""

    name: str
    architecture: str
    pool: str | None

    @staticmethod
    def resolve_pool(host: Host) -> str | None:
        return host.pool.name if host.pool else None


class PoolShown(Schema):
    """A pool."""

    name: str
    architecture: str


class TargetShown(Schema):
    """A target; `declared_suite` is what the estate says, `suite` what it was resolved to."""

    name: str
    declared_suite: str
    suite: str
    architecture: str
    components: list[str]
    package_sources: list[dict[str, Any]]
    keyring: str
    signed_sources_only: bool


class ProjectShown(Schema):
    """A project."""

    name: str
    targets: list[str]
    repository: str | None

    @staticmethod
    def resolve_targets(project: Project) -> list[str]:
        return sorted(target.name for target in project.targets.all())

    @staticmethod
    def resolve_repository(project: Project) -> str | None:
        return project.repository.name if project.repository else None


class RepositoryShown(Schema):
    """A repository of a tree."""

    name: str
    path: str
    valid_seconds: int


class TreeShown(Schema):
    """A release tree."""

    name: str
    repositories: list[RepositoryShown]

    @staticmethod
    def resolve_repositories(tree: ReleaseTree) -> list[Any]:
        return list(tree.repositories.filter(retired_at=None).order_by("name"))


@router.post("/load", response=LoadShown, summary="Load an estate")
def load(request: HttpRequest, asked: LoadIn) -> Any:
    """Load the YAML files of a directory of this machine. From this machine only."""
    user = require(request, Role.ADMIN)
    if not _from_here(request):
        raise ForbiddenError(
            Reason(
                "not-from-here",
                "a directory of this machine is only loaded from this machine",
                "run `commonfarm estate load` there",
            )
        )
    path = Path(asked.directory)
    if not path.is_absolute():
        raise BadInputError(Problem(asked.directory, 0, 0, "is relative", "write it in full"))
    return load_directory(path, user.label)


@router.get("/hosts", response=list[HostShown], summary="List hosts")
def hosts(request: HttpRequest) -> Any:
    """List the hosts of the estate."""
    require(request, Role.READER)
    return Host.objects.filter(retired_at=None).select_related("pool").order_by("name")


@router.get("/pools", response=list[PoolShown], summary="List pools")
def pools(request: HttpRequest) -> Any:
    """List the pools of builders."""
    require(request, Role.READER)
    return Pool.objects.filter(retired_at=None).order_by("name")


@router.get("/targets", response=list[TargetShown], summary="List targets")
def targets(request: HttpRequest) -> Any:
    """List what can be built for."""
    require(request, Role.READER)
    return Target.objects.filter(retired_at=None).order_by("name")


@router.get("/projects", response=list[ProjectShown], summary="List projects")
def projects(request: HttpRequest) -> Any:
    """List who builds what for which targets."""
    require(request, Role.READER)
    rows = Project.objects.filter(retired_at=None).select_related("repository")
    return rows.prefetch_related("targets").order_by("name")


@router.get("/trees", response=list[TreeShown], summary="List release trees")
def trees(request: HttpRequest) -> Any:
    """List the release trees and their repositories."""
    require(request, Role.READER)
    return ReleaseTree.objects.filter(retired_at=None).order_by("name")


def _from_here(request: HttpRequest) -> bool:
    """Say whether the caller is on this machine; one who comes through a proxy may not be."""
    if request.headers.get("X-Forwarded-For") or request.headers.get("Forwarded"):
        return False
    try:
        return ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
