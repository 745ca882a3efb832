"""The API of release trees: what is in them, and what is done with a tree as a whole."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from django.http import HttpRequest
from django.utils import timezone
from ninja import Field, Query, Router, Schema, Status

from commonfarm.accounts.interface import Role
from commonfarm.archive.adoption.tasks import ask_for_look
from commonfarm.archive.models import TreeFile
from commonfarm.archive.promoting import promote
from commonfarm.archive.release_api import (
    FileShown,
    Name,
    ReleaseShown,
    Why,
    release_for,
    release_of,
)
from commonfarm.archive.release_api import router as releases
from commonfarm.archive.releases import going_public, history
from commonfarm.archive.showing import show_adoption, show_difference, show_release, show_tree
from commonfarm.archive.trees import current_revision, files_of
from commonfarm.estate.interface import ReleaseTree
from commonfarm.http.interface import Page, Paging, newest_first, require
from commonfarm.lib.errors import BadInputError, NotFoundError, Problem, Reason

router = Router(tags=["trees"])

router.add_router("/{name}/releases", releases)

MOST_LISTED = 1000


class FolderProblem(Schema):
    """What is wrong with something in an adopted folder, and what to do."""

    path: str
    what: str
    to_do: str


class AdoptionShown(Schema):
    """What was found in an adopted folder; `stopped` says why it was not taken over.

    Of its problems readers are told how many there are. What one `asked` for is done once as many
    are `answered`.
    """

    looks: int
    asked: int
    answered: int
    looked_at: datetime | None
    took_seconds: float
    next_at: datetime | None
    files: int
    waiting: int
    unread: int
    stopped: str
    problems: list[FolderProblem]
    problem_count: int


class ReleaseTreeShown(Schema):
    """A release tree: its policy, what users see of it, and what waits.

    `waiting` counts the releases that are not public yet.
    """

    name: str
    environment: str
    promotes_to: str
    review: str
    origin_only_seconds: int
    grace_seconds: int
    valid_seconds: int
    adopts: str
    revision: int
    published_at: datetime | None
    files: int
    size: int
    aliases: int
    waiting: int
    problem: str
    address: str
    adoption: AdoptionShown | None


class Back(Schema):
    """To which revision a tree goes back, and why."""

    revision: Annotated[int, Field(ge=1, le=2**31 - 1)]
    why: Why


class Promotion(Schema):
    """What is promoted: a public release, or without a number all of the tree; and to where."""

    release: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    to: Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$")] = ""


class Look(Schema):
    """Whether a loss of most files is meant."""

    loss_is_meant: bool = False


class Listing(Paging):
    """Which files: those whose path begins so, of a revision (the public one)."""

    prefix: Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")] = ""
    revision: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None


class Between(Schema):
    """What to compare: two revisions, or what a release would change."""

    old: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    new: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    release: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    tree: Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$")] = ""


@router.get("", response=list[ReleaseTreeShown])
def trees(request: HttpRequest) -> list[dict[str, Any]]:
    """List the release trees."""
    user = require(request, Role.READER)
    rows = ReleaseTree.objects.filter(retired_at=None).order_by("name")
    return [show_tree(one, user) for one in rows]


@router.get("/{name}", response=ReleaseTreeShown)
def tree(request: HttpRequest, name: Name) -> dict[str, Any]:
    """Show one release tree."""
    user = require(request, Role.READER)
    return show_tree(ReleaseTree.named(name), user)


@router.get("/{name}/files", response=Page[FileShown])
def tree_files(request: HttpRequest, name: Name, asked: Query[Listing]) -> dict[str, Any]:
    """List the files of a revision that users saw, the newest first."""
    require(request, Role.READER)
    found = ReleaseTree.named(name)
    revision = current_revision(found) if asked.revision is None else asked.revision
    rows = files_of(found, _seen(found, revision)).filter(path__startswith=asked.prefix)
    return newest_first(rows.order_by(), asked, _tree_file)


@router.get("/{name}/diff", response=dict[str, Any])
def diff(request: HttpRequest, name: Name, asked: Query[Between]) -> dict[str, Any]:
    """Say what is new, gone and changed: between revisions, by a release, or against a tree."""
    user = require(request, Role.READER)
    found = ReleaseTree.named(name)
    ways = asked.release is not None, bool(asked.tree), (asked.old, asked.new) != (None, None)
    if sum(ways) > 1:
        what = "a difference is of revisions, of a release or to another tree, not of several"
        raise BadInputError(Problem("diff", 0, 0, what, "ask for one"))
    if asked.release is not None:
        changes = history.of_release(release_for(user, found, asked.release))
    elif asked.tree:
        changes = history.between_trees(found, ReleaseTree.named(asked.tree))
    else:
        new = asked.new if asked.new is not None else current_revision(found)
        old = asked.old if asked.old is not None else max(new - 1, 0)
        changes = history.between_revisions(found, _seen(found, old), _seen(found, new))
    return show_difference(changes, MOST_LISTED)


@router.post("/{name}/rollback", response=dict[str, Any])
def rollback(request: HttpRequest, name: Name, body: Back) -> dict[str, Any]:
    """Have a new revision made with the files of an earlier one."""
    user = require(request, Role.COORDINATOR)
    publication = going_public.rollback(
        ReleaseTree.named(name), body.revision, who=user.label, why=body.why
    )
    return {"tree": name, "revision": publication.revision, "state": publication.state}


@router.post("/{name}/adopt", response=AdoptionShown)
def adopt(request: HttpRequest, name: Name, body: Look) -> dict[str, Any]:
    """Have the folder of an adopted tree looked at now; that is done once it is `answered`."""
    user = require(request, Role.COORDINATOR if body.loss_is_meant else Role.SUBMITTER)
    found = ReleaseTree.named(name)
    ask_for_look(found, who=user.label, loss_is_meant=body.loss_is_meant)
    return show_adoption(found, user)


@router.post("/{name}/promote", response={201: ReleaseShown})
def promote_tree(request: HttpRequest, name: Name, body: Promotion) -> Status[dict[str, Any]]:
    """Make a release of the next tree of what is public in this one; no bytes are moved."""
    user = require(request, Role.SUBMITTER)
    source = ReleaseTree.named(name)
    release = release_of(source, body.release) if body.release is not None else None
    made = promote(source, release, body.to, who=user.label, now=timezone.now())
    return Status(HTTPStatus.CREATED, show_release(made))


def _tree_file(row: TreeFile) -> dict[str, Any]:
    return {"path": row.path, "size": row.size, "sha256": row.sha256, "target": ""}


def _seen(tree: ReleaseTree, revision: int) -> int:
    """Return a revision that users saw; what is on its way is nobody's yet."""
    if not history.was_seen(tree, revision):
        raise NotFoundError(
            Reason(
                "no-such-revision",
                f"users never saw a revision {revision} of {tree.name}",
                "look at the tree's history for one",
            )
        )
    return revision
