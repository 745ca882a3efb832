"""The API of the mirrors."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Field, Query, Router, Schema, Status
from pydantic import AfterValidator

from commonfarm.accounts.interface import Role
from commonfarm.estate.interface import ReleaseTree
from commonfarm.http.interface import (
    Page,
    Paging,
    check_if_match,
    etag_of,
    newest_first,
    require,
)
from commonfarm.mirrors import tasks
from commonfarm.mirrors.addresses import Policy, check_url
from commonfarm.mirrors.models import Mirror, Scan

router = Router(tags=["mirrors"])

MOST_SHOWN = 100

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,99}$")]
Url = Annotated[str, Field(max_length=499, pattern=r"^https?://[!-~]+$")]
RsyncUrl = Annotated[str, Field(max_length=500, pattern=r"^(rsync://[!-~]+)?$")]
Country = Annotated[str, Field(pattern=r"^[A-Za-z]{2}$"), AfterValidator(str.upper)]
Why = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]


class NewMirror(Schema):
    """A mirror to register: `url` is the root of its copy of the tree."""

    name: Name
    tree: Annotated[str, Field(max_length=100, pattern=r"^[^\x00]+$")]
    url: Url
    country: Country
    rsync_url: RsyncUrl = ""


class MirrorEdit(Schema):
    """What to change; what is left out stays. Disabling takes a reason in `why`."""

    url: Url | None = None
    country: Country | None = None
    rsync_url: RsyncUrl | None = None
    enabled: bool | None = None
    why: Why = ""


class ShownScan(Schema):
    """A scan that came to an end; `missing` holds its first hundred paths."""

    revision: int
    started_at: datetime
    finished_at: datetime | None
    ok: bool | None
    problem: str
    files_expected: int
    files_found: int
    missing: list[str]


class ShownMirror(Schema):
    """A mirror as it is registered, and how its last scan found it."""

    name: str
    tree: str
    url: str
    rsync_url: str
    country: str
    enabled: bool
    state: str
    added_by: str
    added_at: datetime
    last_scan: ShownScan | None


def show_scan(scan: Scan) -> dict[str, Any]:
    """Return a scan as the API shows it."""
    names = ("revision", "started_at", "finished_at", "ok", "problem")
    shown = {name: getattr(scan, name) for name in (*names, "files_expected", "files_found")}
    return {**shown, "missing": scan.missing[:MOST_SHOWN]}


def show(mirror: Mirror) -> dict[str, Any]:
    """Return a mirror as the API shows it."""
    last = mirror.last_scan()
    names = ("name", "url", "rsync_url", "country", "enabled", "added_by", "added_at")
    return {
        **{name: getattr(mirror, name) for name in names},
        "tree": mirror.tree.name,
        "state": mirror.state(last),
        "last_scan": show_scan(last) if last else None,
    }


def entity_tag(mirror: Mirror) -> str:
    """Return the ETag of what can be edited; a scan does not change it."""
    names = ("name", "url", "rsync_url", "country", "enabled")
    return etag_of({name: getattr(mirror, name) for name in names} | {"id": mirror.pk})


def _policy() -> Policy:
    return Policy.of(settings.COMMONFARM)


@router.get("", response=Page[ShownMirror])
def list_mirrors(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    """List the registered mirrors, newest first."""
    require(request, Role.READER)
    rows = Mirror.objects.filter(removed_at=None).select_related("tree")
    return newest_first(rows, paging, show)


@router.post("", response={201: ShownMirror})
def add_mirror(request: HttpRequest, new: NewMirror) -> Status[dict[str, Any]]:
    """Register a mirror; it is scanned soon after."""
    user = require(request, Role.COORDINATOR)
    url = check_url(new.url, _policy())
    with transaction.atomic():
        mirror = Mirror.add(
            new.name,
            ReleaseTree.named(new.tree),
            url=url,
            country=new.country,
            rsync_url=new.rsync_url,
            who=user.label,
        )
        tasks.want_scan(mirror)
        tasks.want_map()
    return Status(HTTPStatus.CREATED, show(mirror))


@router.get("/{name}", response=ShownMirror)
def get_mirror(request: HttpRequest, response: HttpResponse, name: str) -> dict[str, Any]:
    """Show one mirror."""
    require(request, Role.READER)
    mirror = Mirror.named(name)
    response["ETag"] = entity_tag(mirror)
    return show(mirror)


@router.patch("/{name}", response=ShownMirror)
def edit_mirror(
    request: HttpRequest, response: HttpResponse, name: str, edit: MirrorEdit
) -> dict[str, Any]:
    """Change a mirror, made from the version that If-Match names."""
    user = require(request, Role.COORDINATOR)
    with transaction.atomic():
        mirror = Mirror.named(name)
        Mirror.objects.select_for_update().get(pk=mirror.pk)
        mirror.refresh_from_db()
        check_if_match(request, entity_tag(mirror))
        changes = edit.dict(include={"url", "country", "rsync_url"}, exclude_none=True)
        if "url" in changes:
            changes["url"] = check_url(changes["url"], _policy())
        mirror.edit(changes, who=user.label)
        if edit.enabled is True:
            mirror.enable(who=user.label, why=edit.why)
        elif edit.enabled is False:
            mirror.disable(who=user.label, why=edit.why)
        if "url" in changes or edit.enabled:
            tasks.want_scan(mirror)
        tasks.want_map()
    response["ETag"] = entity_tag(mirror)
    return show(mirror)


@router.delete("/{name}", response={204: None})
def remove_mirror(request: HttpRequest, name: str) -> Status[None]:
    """Take a mirror from the registry; its history stays."""
    user = require(request, Role.COORDINATOR)
    with transaction.atomic():
        Mirror.named(name).remove(timezone.now(), who=user.label)
        tasks.want_map()
    return Status(HTTPStatus.NO_CONTENT, None)


@router.post("/{name}/scan", response={202: ShownMirror})
def scan_mirror(request: HttpRequest, name: str) -> Status[dict[str, Any]]:
    """Have a mirror scanned now; its `last_scan` changes when that is done."""
    require(request, Role.COORDINATOR)
    mirror = Mirror.named(name)
    with transaction.atomic():
        tasks.want_scan(mirror)
    return Status(HTTPStatus.ACCEPTED, show(mirror))
