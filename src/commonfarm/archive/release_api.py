"""The API of releases: files on their way into a release tree.

Whoever may not put files themselves sees of a release that is not public that it waits, and nothing
else: no title, no files, no time.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.urls import reverse
from django.utils import timezone
from ninja import Field, Path, Query, Router, Schema, Status
from pydantic import AwareDatetime

from commonfarm.accounts.interface import Role, User
from commonfarm.archive.models import Release, ReleaseFile, ReleaseState
from commonfarm.archive.releases import going_public, idle, lifecycle
from commonfarm.archive.showing import show_release, show_release_file, told_to
from commonfarm.estate.interface import ReleaseTree
from commonfarm.http.interface import Page, Paging, newest_first, require
from commonfarm.lib.errors import BadInputError, ForbiddenError, NotFoundError, Problem, Reason
from commonfarm.store.interface import blob_path, ranged

router = Router(tags=["trees"])

MOST_AT_ONCE = 5000
MOST_EMBARGO = timedelta(days=731)

Name = Annotated[str, Path(max_length=100, pattern=r"^[^\x00]+$")]
Number = Annotated[int, Path(ge=1, le=2**31 - 1)]
Text = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]
FilePath = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
Why = Annotated[str, Field(min_length=1, max_length=1000, pattern=r"^[^\x00]+$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ReleaseShown(Schema):
    """A release: how far it is, and what would take it further.

    `address` is where users get it, empty while they do not.
    """

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
    address: str


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


class GivenUp(Schema):
    """Why a release is not gone on with."""

    why: Why


class Reviewed(Schema):
    """What came of looking at a release; a rejection says why."""

    ok: bool
    why: Text = ""


class WhenPublic(Schema):
    """When users may see a release: at once, or from a time on, given with its zone."""

    visible_from: AwareDatetime | None = None


class Withdrawal(Schema):
    """Why a release is taken back; at once, or after the tree's grace period."""

    why: Why
    at_once: bool = False


class FileShown(Schema):
    """A file of a tree or a release; of an alias `target` says what it stands for."""

    path: str
    size: int
    sha256: str
    target: str = ""


@router.get("", response=Page[ReleaseShown])
def releases(request: HttpRequest, name: Name, paging: Query[Paging]) -> dict[str, Any]:
    """List the releases of a tree, newest first; for readers those that are or were public."""
    user = require(request, Role.READER)
    rows = told_to(user).filter(tree=ReleaseTree.named(name))
    return newest_first(rows.select_related("tree", "publication"), paging, show_release)


@router.post("", response={201: ReleaseShown})
def open_release(request: HttpRequest, name: Name, new: NewRelease) -> Status[dict[str, Any]]:
    """Begin a release; files are added until it is closed."""
    user = require(request, Role.SUBMITTER)
    made = lifecycle.open_release(
        ReleaseTree.named(name), title=new.title, origin=new.origin, who=user.label
    )
    return Status(HTTPStatus.CREATED, show_release(made))


@router.get("/{number}", response=ReleaseShown)
def release(request: HttpRequest, name: Name, number: Number) -> dict[str, Any]:
    """Show one release; readers one that is or was public."""
    user = require(request, Role.READER)
    return show_release(release_for(user, ReleaseTree.named(name), number))


@router.post("/{number}/content", response=dict[str, int])
def add_content(request: HttpRequest, name: Name, number: Number, body: Content) -> dict[str, int]:
    """Add files that this user uploaded before, and aliases, to a release of one's own."""
    user = require(request, Role.SUBMITTER)
    found = _own(_release(name, number), user)
    files = [(one.path, one.sha256) for one in body.files]
    return {
        "files": lifecycle.add_files(found, files, owner=user.label) if files else 0,
        "aliases": lifecycle.add_aliases(found, [(one.path, one.target) for one in body.aliases])
        if body.aliases
        else 0,
    }


@router.post("/{number}/give-up", response=ReleaseShown)
def give_up(request: HttpRequest, name: Name, number: Number, body: GivenUp) -> dict[str, Any]:
    """End an open release of one's own: it is not gone on with."""
    user = require(request, Role.SUBMITTER)
    found = _own(_release(name, number), user)
    idle.give_up(found, who=user.label, now=timezone.now(), why=body.why)
    return show_release(found)


@router.post("/{number}/close", response=Closed)
def close(
    request: HttpRequest, response: HttpResponse, name: Name, number: Number
) -> dict[str, Any]:
    """Let no more be added, check all of it, and give it an address of its own."""
    user = require(request, Role.SUBMITTER)
    found = _own(_release(name, number), user)
    token = lifecycle.close(found, who=user.label, now=timezone.now())
    response.headers["Cache-Control"] = "no-store"
    return {**show_release(found), "link": unlisted_address(token)}


@router.post("/{number}/link", response=Closed)
def new_link(
    request: HttpRequest, response: HttpResponse, name: Name, number: Number
) -> dict[str, Any]:
    """Give it another address; the one before leads nowhere."""
    user = require(request, Role.SUBMITTER)
    found = _release(name, number)
    token = lifecycle.new_link(found, who=user.label)
    response.headers["Cache-Control"] = "no-store"
    return {**show_release(found), "link": unlisted_address(token)}


@router.get("/{number}/files", response=Page[FileShown])
def release_files(
    request: HttpRequest, name: Name, number: Number, paging: Query[Paging]
) -> dict[str, Any]:
    """List what a release brings; for readers of one that is or was public."""
    user = require(request, Role.READER)
    found = release_for(user, ReleaseTree.named(name), number)
    rows = ReleaseFile.objects.filter(release=found).select_related("blob")
    return newest_first(rows, paging, show_release_file)


@router.get("/{number}/file", response={200: bytes, 206: bytes})
def release_file(
    request: HttpRequest, name: Name, number: Number, path: Annotated[str, Query(max_length=1000)]
) -> HttpResponseBase:
    """Return a file of a release that may not be public yet; a range may be asked for."""
    require(request, Role.SUBMITTER)
    return send(request, _release(name, number), path)


@router.post("/{number}/review", response=ReleaseShown)
def review(request: HttpRequest, name: Name, number: Number, body: Reviewed) -> dict[str, Any]:
    """Say that a release may be published, or reject it."""
    user = require(request, Role.COORDINATOR)
    found, now = _release(name, number), timezone.now()
    if body.ok or found.state == ReleaseState.UNLISTED:
        lifecycle.review(found, ok=body.ok, who=user.label, now=now, why=body.why)
    else:
        lifecycle.reject(found, who=user.label, now=now, why=body.why)
    return show_release(found)


@router.post("/{number}/publish", response=ReleaseShown)
def publish(request: HttpRequest, name: Name, number: Number, body: WhenPublic) -> dict[str, Any]:
    """Make a reviewed release public, now or when its embargo ends."""
    user = require(request, Role.COORDINATOR)
    found, now = _release(name, number), timezone.now()
    when = embargo_end(body.visible_from, now)
    going_public.publish(found, now=now, who=user.label, visible_from=when)
    return show_release(found)


@router.post("/{number}/withdraw", response=ReleaseShown)
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


def release_for(user: User, tree: ReleaseTree, number: int) -> Release:
    """Return release `number` of `tree`; ForbiddenError when `user` may not see it yet."""
    found = release_of(tree, number)
    if not told_to(user).filter(pk=found.pk).exists():
        raise ForbiddenError(
            Reason(
                "not-public",
                f"release {number} of {tree.name} is not public",
                "wait until it is, or ask for the role of a submitter",
            )
        )
    return found


def embargo_end(when: datetime | None, now: datetime) -> datetime | None:
    """Return the end of an embargo; BadInputError for one that nobody means.

    One that is past is a slip, and what was published by it cannot be made unseen.
    """
    if when is None:
        return None
    if when > now + MOST_EMBARGO:
        what = f"is over {MOST_EMBARGO.days} days ahead"
        raise BadInputError(Problem("visible_from", 0, 0, what, "name a time before that"))
    if when <= now:
        what = f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC is past (it is {now:%Y-%m-%d %H:%M})"
        to_do = "name a time to come, or none to publish it at once"
        raise BadInputError(Problem("visible_from", 0, 0, what, to_do))
    return when


def send(request: HttpRequest, release: Release, path: str) -> HttpResponseBase:
    """Return a file of a release, or the range of it that was asked for.

    For saving: what people upload is never shown as a page of ours.
    """
    row = (
        ReleaseFile.objects.filter(release=release, path=path).first() if "\0" not in path else None
    )
    if row is None or row.blob_id is None:
        raise NotFoundError(
            Reason("no-such-file", f"{release} has no file {path[:200]!r}", "look at its list")
        )
    response = ranged(request, blob_path(row.blob_id))
    name = re.sub(r"[^A-Za-z0-9._+~-]", "_", path.rpartition("/")[2])
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def unlisted_address(token: str) -> str:
    """Return where a release that is not public can be looked at by who has this token."""
    return f"{settings.COMMONFARM.public_url('hub')}{reverse('unlisted', args=[token])}"


def _own(release: Release, user: User) -> Release:
    """Return a release that `user` puts: what others add would be looked at by none of the two."""
    if release.put_by != user.label:
        raise ForbiddenError(
            Reason(
                "not-yours", f"{release.label} is put by {release.put_by}", "put one of your own"
            )
        )
    return release


def _release(name: str, number: int) -> Release:
    return release_of(ReleaseTree.named(name), number)
