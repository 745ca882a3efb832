"""The API of the estate."""

from __future__ import annotations

import json
from datetime import date, datetime
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Field, Query, Router, Schema, Status

from commonfarm.accounts.interface import Role
from commonfarm.estate import tasks
from commonfarm.estate.answering import KINDS
from commonfarm.estate.git import check_branch, check_folder, scheme_of
from commonfarm.estate.load import load_directory
from commonfarm.estate.models import (
    NOT_FOLLOWING,
    Answer,
    Following,
    Host,
    Load,
    Pool,
    Project,
    ReleaseTree,
    Target,
)
from commonfarm.http.interface import Page, Paging, newest_first, require
from commonfarm.lib.errors import (
    BadInputError,
    ForbiddenError,
    NotFoundError,
    Problem,
    Reason,
)
from commonfarm.lib.hints import hint

router = Router(tags=["estate"])


class LoadIn(Schema):
    """Which directory of the hub's own machine to load."""

    directory: Annotated[str, Field(max_length=500, pattern=r"^[^\x00]+$")]


class CommitShown(Schema):
    """A commit, as its author tells of it."""

    id: str
    author: str
    at: datetime
    subject: str


class LoadShown(Schema):
    """A load, and what it changed.

    `commit` and what is told of it are empty for a directory loaded by hand; `passed` are the
    commits since the load before that were not loaded themselves, newest first.
    """

    id: int
    at: datetime
    who: str
    origin: str
    digest: str
    changes: list[str]
    commit: str
    title: str
    author: str
    committed_at: datetime | None
    passed: list[CommitShown]


class FollowIn(Schema):
    """Which branch of which repository to follow, and the folder of the YAML files in it."""

    url: Annotated[str, Field(max_length=500)]
    branch: Annotated[str, Field(max_length=200)] = "main"
    folder: Annotated[str, Field(max_length=200)] = ""


class ReasonShown(Schema):
    """Why something is not done, and what would lift it."""

    code: str
    text: str
    lifted_by: str


class ProblemShown(Schema):
    """A fault of a file: line and column from 1, 0 where they are not known."""

    file: str
    line: int
    column: int
    what: str
    to_do: str


class RefusedShown(Schema):
    """A commit that was not loaded, and its faults."""

    commit: str
    title: str
    problems: list[ProblemShown]


class FollowingShown(Schema):
    """What is followed. `tip` is the last good commit, `problem` why it cannot be fetched now."""

    url: str
    branch: str
    folder: str
    who: str
    since: datetime
    tried_at: datetime | None
    fetched_at: datetime | None
    problem: ReasonShown | None
    tip: str
    refused: RefusedShown | None


class AnswerShown(Schema):
    """An answer: of which load, as of which day, and why it could not be made where it was not."""

    kind: str
    load: int
    as_of: date
    made_at: datetime
    problem: ReasonShown | None

    @staticmethod
    def resolve_load(answer: Answer) -> int:
        return int(answer.load_id)


class AnswerInFull(AnswerShown):
    """An answer with its document, which is that of the verb of its kind with `--json`."""

    document: Any

    @staticmethod
    def resolve_document(answer: Answer) -> Any:
        return json.loads(answer.document) if answer.document else None


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
    made = load_directory(path, user.label)
    tasks.want_answers()
    return made


@router.get("/loads", response=Page[LoadShown], summary="List loads")
def loads(request: HttpRequest, paging: Query[Paging]) -> Any:
    """List what was loaded, newest first, and what it changed."""
    require(request, Role.READER)
    return newest_first(Load.objects.defer("facts"), paging, lambda load: load)


@router.post("/following", response=FollowingShown, summary="Follow a repository")
def follow(request: HttpRequest, asked: FollowIn) -> Any:
    """Load each commit of a branch from now on; a repository of this machine, from here only."""
    user = require(request, Role.ADMIN)
    scheme = scheme_of(asked.url)
    check_branch(asked.branch)
    check_folder(asked.folder)
    if scheme == "file" and not _from_here(request):
        raise ForbiddenError(
            Reason(
                "not-from-here",
                "a repository of this machine is only followed from this machine",
                "run `commonfarm estate follow` there, or name it by https:// or ssh://",
            )
        )
    made = Following.start(
        asked.url, asked.branch, asked.folder, who=user.label, now=timezone.now()
    )
    tasks.want_follow()
    return made


@router.get("/following", response=FollowingShown, summary="Show what is followed")
def following(request: HttpRequest) -> Any:
    """Show which branch the estate follows, and which of its commits has which faults."""
    require(request, Role.READER)
    found = Following.current()
    if found is None:
        raise NotFoundError(NOT_FOLLOWING)
    return found


@router.delete("/following", response={HTTPStatus.NO_CONTENT: None}, summary="Follow no more")
def unfollow(request: HttpRequest) -> Any:
    """Follow nothing any more; the estate stays as it is."""
    user = require(request, Role.ADMIN)
    Following.stop(who=user.label)
    return Status(HTTPStatus.NO_CONTENT, None)


@router.get("/answers", response=list[AnswerShown], summary="List answers")
def answers(request: HttpRequest) -> Any:
    """List what the worker has answered of the estate in force."""
    require(request, Role.READER)
    return Answer.objects.filter(load=Load.in_force()).defer("document").order_by("kind")


@router.get("/answers/{kind}", response=AnswerInFull, summary="Show an answer")
def answer(request: HttpRequest, kind: str) -> Any:
    """Show an answer of the estate in force; who gives anonymously goes by another name in it."""
    require(request, Role.READER)
    # One of an older load may name who wants to stay anonymous since.
    there = Answer.objects.filter(load=Load.in_force())
    found = there.filter(kind=kind).first() if kind in KINDS else None
    if found is None:
        to_do = "answers are made within minutes of a load" if kind in KINDS else hint(kind, KINDS)
        raise NotFoundError(Reason("no-such-answer", f"there is no answer {kind[:30]!r}", to_do))
    return found


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
