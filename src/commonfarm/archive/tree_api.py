"""The API of release trees: what is in them, and the releases on their way into them."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from ninja import Field, Path, Query, Router, Schema, Status

from commonfarm.accounts.interface import Role
from commonfarm.archive.models import Release, ReleaseFile, ReleaseState, TreeFile
from commonfarm.archive.promoting import promote
from commonfarm.archive.releases import going_public, history, lifecycle
from commonfarm.archive.showing import show_difference, show_release, show_tree
from commonfarm.archive.trees import current_revision, files_of
from commonfarm.estate.interface import ReleaseTree
from commonfarm.http.interface import Page, Paging, newest_first, require
from commonfarm.lib.errors import NotFoundError, Reason
from commonfarm.store.interface import blob_path, ranged

router = Router(tags=["trees"])

MOST_AT_ONCE = 5000
MOST_LISTED = 1000

Name = Annotated[str, Path(max_length=100, pattern=r"^[^\x00]+$")]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Text = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]
FilePath = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class TreeShown(Schema):
    """A release tree: its policy, what users see of it, and what waits."""

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


class ReleaseShown(Schema):
    """A release: how far it is, and what would take it further."""

    tree: str
    number: int
    title: str
    state: str
    origin: str
    put_by: str
    put_at: datetime
    reviewed_by: str
    reviewed_at: datetime | None
    visible_from: datetime | None
    files: int
    aliases: int
    size: int
    revision: int | None
    withdrawn_revision: int | None
    why: str
    next: str


class NewRelease(Schema):
    """A release to be filled; `origin` says where its files come from."""

    title: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")] = ""
    origin: Text = ""


class FileIn(Schema):
    """A file that was uploaded to the store before, and its path in the tree."""

    path: FilePath
    sha256: Sha256


class AliasIn(Schema):
    """A symlink: its path in the tree, and what it says."""

    path: FilePath
    target: FilePath


class Content(Schema):
    """Files and aliases to be added; the same may be added again."""

    files: Annotated[list[FileIn], Field(max_length=MOST_AT_ONCE)] = []
    aliases: Annotated[list[AliasIn], Field(max_length=MOST_AT_ONCE)] = []


class Closed(ReleaseShown):
    """A closed release, and the address where it can be looked at; told this once."""

    link: str


class Reviewed(Schema):
    """What came of looking at a release; a rejection says why."""

    ok: bool
    why: Text = ""


class WhenPublic(Schema):
    """When users may see a release: at once, or from a time on."""

    visible_from: datetime | None = None


class Withdrawal(Schema):
    """Why a release is taken back; at once, or after the tree's grace period."""

    why: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
    at_once: bool = False


class Back(Schema):
    """To which revision a tree goes back, and why."""

    revision: Annotated[int, Field(ge=1, le=2**31 - 1)]
    why: Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]


class Promotion(Schema):
    """What is promoted: a public release, or without a number all of the tree; and to where."""

    release: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    to: Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$")] = ""


class Listing(Paging):
    """Which files: those whose path begins so, of a revision (the public one)."""

    prefix: Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")] = ""
    revision: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None


class FileShown(Schema):
    """A file of a tree or a release; of an alias `target` says what it stands for."""

    path: str
    size: int
    sha256: str
    target: str = ""


class Between(Schema):
    """What to compare: two revisions, or what a release would change."""

    old: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    new: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = None
    release: Annotated[int, Field(ge=1, le=2**31 - 1)] | None = None
    tree: Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$")] = ""


@router.get("", response=list[TreeShown])
def trees(request: HttpRequest) -> list[dict[str, Any]]:
    """List the release trees."""
    require(request, Role.READER)
    return [show_tree(one) for one in ReleaseTree.objects.filter(retired_at=None).order_by("name")]


@router.get("/{name}", response=TreeShown)
def tree(request: HttpRequest, name: Name) -> dict[str, Any]:
    """Show one release tree."""
    require(request, Role.READER)
    return show_tree(ReleaseTree.named(name))


@router.get("/{name}/files", response=Page[FileShown])
def tree_files(request: HttpRequest, name: Name, asked: Query[Listing]) -> dict[str, Any]:
    """List the files of a revision, in the order in which they came."""
    require(request, Role.READER)
    found = ReleaseTree.named(name)
    rows = files_of(found, asked.revision or current_revision(found))
    rows = rows.filter(path__startswith=asked.prefix)
    return newest_first(rows.order_by(), asked, _tree_file)


@router.get("/{name}/diff", response=dict[str, Any])
def diff(request: HttpRequest, name: Name, asked: Query[Between]) -> dict[str, Any]:
    """Say what is new, gone and changed: between revisions, by a release, or against a tree."""
    require(request, Role.READER)
    found = ReleaseTree.named(name)
    if asked.release is not None:
        changes = history.of_release(release_of(found, asked.release))
    elif asked.tree:
        changes = history.between_trees(found, ReleaseTree.named(asked.tree))
    else:
        new = asked.new if asked.new is not None else current_revision(found)
        old = asked.old if asked.old is not None else max(new - 1, 0)
        changes = history.between_revisions(found, old, new)
    return show_difference(changes, MOST_LISTED)


@router.post("/{name}/rollback", response=dict[str, Any])
def rollback(request: HttpRequest, name: Name, body: Back) -> dict[str, Any]:
    """Have a new revision made with the files of an earlier one."""
    user = require(request, Role.COORDINATOR)
    publication = going_public.rollback(
        ReleaseTree.named(name), body.revision, who=user.label, why=body.why
    )
    return {"tree": name, "revision": publication.revision, "state": publication.state}


@router.post("/{name}/promote", response={201: ReleaseShown})
def promote_tree(request: HttpRequest, name: Name, body: Promotion) -> Status[dict[str, Any]]:
    """Make a release of the next tree of what is public in this one; no bytes are moved."""
    user = require(request, Role.SUBMITTER)
    source = ReleaseTree.named(name)
    release = release_of(source, body.release) if body.release is not None else None
    made = promote(source, release, body.to, who=user.label, now=timezone.now())
    return Status(HTTPStatus.CREATED, show_release(made))


@router.get("/{name}/releases", response=Page[ReleaseShown])
def releases(request: HttpRequest, name: Name, paging: Query[Paging]) -> dict[str, Any]:
    """List the releases of a tree, newest first."""
    require(request, Role.READER)
    rows = Release.objects.filter(tree=ReleaseTree.named(name)).select_related("tree")
    return newest_first(rows, paging, show_release)


@router.post("/{name}/releases", response={201: ReleaseShown})
def open_release(request: HttpRequest, name: Name, new: NewRelease) -> Status[dict[str, Any]]:
    """Begin a release; files are added until it is closed."""
    user = require(request, Role.SUBMITTER)
    made = lifecycle.open_release(
        ReleaseTree.named(name), title=new.title, origin=new.origin, who=user.label
    )
    return Status(HTTPStatus.CREATED, show_release(made))


@router.get("/{name}/releases/{number}", response=ReleaseShown)
def release(request: HttpRequest, name: Name, number: Number) -> dict[str, Any]:
    """Show one release."""
    require(request, Role.READER)
    return show_release(_release(name, number))


@router.post("/{name}/releases/{number}/content", response=dict[str, int])
def add_content(request: HttpRequest, name: Name, number: Number, body: Content) -> dict[str, int]:
    """Add files that this user uploaded before, and aliases."""
    user = require(request, Role.SUBMITTER)
    found = _release(name, number)
    files = [(one.path, one.sha256) for one in body.files]
    return {
        "files": lifecycle.add_files(found, files, owner=user.label) if files else 0,
        "aliases": lifecycle.add_aliases(found, [(one.path, one.target) for one in body.aliases])
        if body.aliases
        else 0,
    }


@router.post("/{name}/releases/{number}/close", response=Closed)
def close(request: HttpRequest, name: Name, number: Number) -> dict[str, Any]:
    """Let no more be added, check all of it, and give it an address of its own."""
    user = require(request, Role.SUBMITTER)
    found = _release(name, number)
    token = lifecycle.close(found, who=user.label, now=timezone.now())
    return {**show_release(found), "link": unlisted_address(token)}


@router.post("/{name}/releases/{number}/link", response=Closed)
def new_link(request: HttpRequest, name: Name, number: Number) -> dict[str, Any]:
    """Give it another address; the one before leads nowhere."""
    user = require(request, Role.SUBMITTER)
    found = _release(name, number)
    token = lifecycle.new_link(found, who=user.label)
    return {**show_release(found), "link": unlisted_address(token)}


@router.get("/{name}/releases/{number}/files", response=Page[FileShown])
def release_files(
    request: HttpRequest, name: Name, number: Number, paging: Query[Paging]
) -> dict[str, Any]:
    """List what a release brings."""
    require(request, Role.SUBMITTER)
    rows = ReleaseFile.objects.filter(release=_release(name, number)).select_related("blob")
    return newest_first(rows, paging, show_release_file)


@router.get("/{name}/releases/{number}/file", response={200: bytes, 206: bytes})
def release_file(
    request: HttpRequest, name: Name, number: Number, path: Annotated[str, Query(max_length=1000)]
) -> HttpResponseBase:
    """Return a file of a release that may not be public yet; a range may be asked for."""
    require(request, Role.SUBMITTER)
    return send(request, _release(name, number), path)


@router.post("/{name}/releases/{number}/review", response=ReleaseShown)
def review(request: HttpRequest, name: Name, number: Number, body: Reviewed) -> dict[str, Any]:
    """Say that a release may be published, or reject it."""
    user = require(request, Role.COORDINATOR)
    found, now = _release(name, number), timezone.now()
    if body.ok or found.state == ReleaseState.UNLISTED:
        lifecycle.review(found, ok=body.ok, who=user.label, now=now, why=body.why)
    else:
        lifecycle.reject(found, who=user.label, now=now, why=body.why)
    return show_release(found)


@router.post("/{name}/releases/{number}/publish", response=ReleaseShown)
def publish(request: HttpRequest, name: Name, number: Number, body: WhenPublic) -> dict[str, Any]:
    """Make a reviewed release public, now or when its embargo ends."""
    user = require(request, Role.COORDINATOR)
    found = _release(name, number)
    going_public.publish(found, now=timezone.now(), who=user.label, visible_from=body.visible_from)
    return show_release(found)


@router.post("/{name}/releases/{number}/withdraw", response=ReleaseShown)
def withdraw(request: HttpRequest, name: Name, number: Number, body: Withdrawal) -> dict[str, Any]:
    """Take a release back."""
    user = require(request, Role.COORDINATOR)
    found = _release(name, number)
    going_public.withdraw(found, who=user.label, why=body.why, at_once=body.at_once)
    return show_release(found)


def release_of(tree: ReleaseTree, number: int) -> Release:
    """Return release `number` of `tree`; NotFoundError names the newest."""
    rows = Release.objects.filter(tree=tree).select_related("tree", "publication")
    found = rows.filter(number=number).first()
    if found is None:
        newest = rows.order_by("-number").first()
        raise NotFoundError(
            Reason(
                "no-such-release",
                f"the tree {tree.name} has no release {number}",
                f"its newest is {newest.number}" if newest else "put one: commonfarm tree put",
            )
        )
    return found


def send(request: HttpRequest, release: Release, path: str) -> HttpResponseBase:
    """Return a file of a release, or the range of it that was asked for."""
    row = (
        ReleaseFile.objects.filter(release=release, path=path).first() if "\0" not in path else None
    )
    if row is None or row.blob_id is None:
        raise NotFoundError(
            Reason("no-such-file", f"{release} has no file {path[:200]!r}", "look at its list")
        )
    return ranged(request, blob_path(row.blob_id))


def unlisted_address(token: str) -> str:
    """Return where a release that is not public can be looked at by who has this token."""
    from django.conf import settings
    from django.urls import reverse

    return f"{settings.COMMONFARM.public_url('hub')}{reverse('unlisted', args=[token])}"


def show_release_file(row: ReleaseFile) -> dict[str, Any]:
    """Return a file of a release as the API shows it."""
    return {
        "path": row.path,
        "size": row.blob.size if row.blob else 0,
        "sha256": row.blob_id or "",
        "target": row.target,
    }


def _tree_file(row: TreeFile) -> dict[str, Any]:
    return {"path": row.path, "size": row.size, "sha256": row.sha256}


def _release(name: str, number: int) -> Release:
    return release_of(ReleaseTree.named(name), number)
