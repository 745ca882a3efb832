"""The API of the mirrors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any

from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Field, Query, Router, Schema, Status

from commonfarm.accounts.interface import Role, User
from commonfarm.estate.interface import ReleaseTree
from commonfarm.http.interface import (
    Page,
    Paging,
    ProblemError,
    check_if_match,
    newest_first,
    require,
)
from commonfarm.lib.errors import Reason
from commonfarm.mirrors import changing, counting, override_api, registry_tasks, tasks
from commonfarm.mirrors.countries import country_code
from commonfarm.mirrors.models import HostKey, Mirror, Redirector
from commonfarm.mirrors.override_api import Because, Why
from commonfarm.mirrors.registering import check_name
from commonfarm.mirrors.shown import ShownMirror, Standing, entity_tag, show, standings

router = Router(tags=["mirrors"])
override_router = override_api.router

Text = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
Short = Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$")]
Texts = Annotated[list[Annotated[str, Field(max_length=60)]], Field(max_length=1000)]


class Fields(Schema):
    """What is registered of a mirror; what is left out stays as it is."""

    subtree: Text | None = None
    http: Text | None = None
    https: Text | None = None
    rsync_url: Text | None = None
    country: Short | None = None
    latitude: float | None = None
    longitude: float | None = None
    as_number: int | None = None
    prefixes: Texts | None = None
    only_countries: Texts | None = None
    only_networks: Texts | None = None
    weight: int | None = None
    budget_bytes: int | None = None
    sponsor: Annotated[str, Field(max_length=200, pattern=r"^[^\x00]*$")] | None = None
    sponsor_url: Text | None = None
    pledge: Short | None = None
    push: Short | None = None
    push_to: Text | None = None


class NewMirror(Fields):
    """A mirror to register: at least one of `http` and `https` is the folder of the tree there."""

    name: Short
    tree: Short
    country: Short
    vouch: bool = False


class MirrorEdit(Fields):
    """What to change. Coordinates that are sent as null are removed; all else that is null stays.

    `vouch` is for coordinators: the new addresses need no proof.
    """

    enabled: bool | None = None
    administrators: Texts | None = None
    vouch: bool = False
    why: Why = ""


class HostKeyTrusted(Schema):
    """The fingerprint of an SSH host key, as `ssh-keygen -l` prints it."""

    fingerprint: Text


class NewRedirector(Schema):
    """A redirector on another machine."""

    name: Short


class ShownRedirector(Schema):
    """A redirector on another machine; its `token` is shown once, when it is made."""

    name: str
    token: str | None = None
    added_by: str
    added_at: Any
    heard_at: Any


class ShownAccess(Schema):
    """By what a mirror reads what is under embargo; the password is shown this once."""

    user: str
    password: str
    module: str
    url: str


class Taken(Schema):
    """What became of a batch: counted now, or before."""

    counted: bool


def _given(fields: Fields) -> dict[str, Any]:
    """Return the fields that were sent; null means something for coordinates alone."""
    sent = fields.dict(include=set(Fields.model_fields), exclude_unset=True)
    nullable = ("latitude", "longitude")
    return {key: value for key, value in sent.items() if value is not None or key in nullable}


def _shown(mirror: Mirror, user: User) -> dict[str, Any]:
    return show(Standing(mirror, mirror.last_scan()), user)


@router.get("", response=Page[ShownMirror])
def list_mirrors(
    request: HttpRequest,
    paging: Query[Paging],
    tree: str = "",
    country: str = "",
    mine: bool = False,
) -> dict[str, Any]:
    """List the registered mirrors, newest first, those of one tree or country if asked."""
    user = require(request, Role.READER)
    rows = Mirror.registered().prefetch_related("administrators")
    if tree:
        rows = rows.filter(tree=ReleaseTree.named(tree.replace("\0", "")))
    if country:
        rows = rows.filter(country=country_code(country))
    if mine:
        rows = rows.filter(administrators=user)
    page = newest_first(rows, paging, lambda row: row)
    found = standings(page["items"])
    return {**page, "items": [show(one, user, alone=False) for one in found]}


@router.post("", response={201: ShownMirror})
def add_mirror(request: HttpRequest, new: NewMirror) -> Status[dict[str, Any]]:
    """Register a mirror; its administrator is who does. Nobody is sent there before its proof."""
    user = require(request, Role.READER)
    with transaction.atomic():
        tree = ReleaseTree.named(new.tree)
        mirror = changing.register(new.name, tree, _given(new), user, vouch=new.vouch)
    return Status(HTTPStatus.CREATED, _shown(mirror, user))


@router.get("/redirectors", response=list[ShownRedirector])
def list_redirectors(request: HttpRequest) -> list[dict[str, Any]]:
    """List the redirectors on other machines."""
    require(request, Role.COORDINATOR)
    names = ("name", "added_by", "added_at", "heard_at")
    return list(Redirector.objects.filter(removed_at=None).order_by("name").values(*names))


@router.post("/redirectors", response={201: ShownRedirector})
def add_redirector(
    request: HttpRequest, response: HttpResponse, new: NewRedirector
) -> Status[dict[str, Any]]:
    """Let a redirector on another machine send its counts; its token is shown this once."""
    user = require(request, Role.ADMIN)
    check_name(new.name)
    token = Redirector.add(new.name, who=user.label, now=timezone.now())
    made = Redirector.named(new.name)
    response["Cache-Control"] = "no-store"
    names = ("name", "added_by", "added_at", "heard_at")
    shown = {name: getattr(made, name) for name in names}
    return Status(HTTPStatus.CREATED, {**shown, "token": token.reveal()})


@router.delete("/redirectors/{name}", response={204: None})
def remove_redirector(request: HttpRequest, name: str) -> Status[None]:
    """End a redirector's token at once."""
    user = require(request, Role.ADMIN)
    Redirector.named(name).remove(who=user.label, now=timezone.now())
    return Status(HTTPStatus.NO_CONTENT, None)


@router.post("/counts", auth=None, response=Taken)
def take_counts(request: HttpRequest) -> dict[str, Any]:
    """Take a batch of counts from a redirector elsewhere, its file as it is, once by its id."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    now = timezone.now()
    if scheme.lower() != "bearer" or Redirector.bearer(token, now) is None:
        raise ProblemError(
            HTTPStatus.UNAUTHORIZED,
            Reason(
                "no-redirector",
                "this needs the token of a redirector",
                "make one: commonfarm mirror redirector add NAME",
            ),
        )
    batch = counting.parse(request.body, now.date())
    return {"counted": counting.take(batch, now)}


@router.get("/{name}", response=ShownMirror)
def get_mirror(request: HttpRequest, response: HttpResponse, name: str) -> dict[str, Any]:
    """Show one mirror."""
    user = require(request, Role.READER)
    mirror = Mirror.named(name)
    response["ETag"] = entity_tag(mirror)
    return _shown(mirror, user)


@router.patch("/{name}", response=ShownMirror)
def edit_mirror(
    request: HttpRequest, response: HttpResponse, name: str, edit: MirrorEdit
) -> dict[str, Any]:
    """Change a mirror, made from the version that If-Match names."""
    user = require(request, Role.READER)
    with transaction.atomic():
        mirror = changing.locked(name, user)
        check_if_match(request, entity_tag(mirror))
        changing.edit(mirror, _given(edit), user, vouch=edit.vouch)
        if edit.administrators is not None:
            changing.give_to(mirror, edit.administrators, user)
        if edit.enabled is not None:
            changing.enable(mirror, edit.enabled, user, edit.why)
    mirror = Mirror.named(name)
    response["ETag"] = entity_tag(mirror)
    return _shown(mirror, user)


@router.delete("/{name}", response={204: None})
def remove_mirror(request: HttpRequest, name: str) -> Status[None]:
    """Take a mirror from the registry; its history stays."""
    user = require(request, Role.READER)
    with transaction.atomic():
        changing.remove(changing.locked(name, user), user)
    return Status(HTTPStatus.NO_CONTENT, None)


@router.put("/{name}/logo", response=ShownMirror)
def show_logo(request: HttpRequest, name: str) -> dict[str, Any]:
    """Show the body as the logo of the mirror's sponsor: PNG, JPEG, WebP or SVG; empty: none."""
    user = require(request, Role.READER)
    with transaction.atomic():
        changing.show_logo(changing.locked(name, user), request.body, user)
    return _shown(Mirror.named(name), user)


@contextmanager
def _looked_at(request: HttpRequest, name: str) -> Iterator[Mirror]:
    """Give a mirror that may be looked at, in a transaction, to one who may ask for that."""
    user = require(request, Role.READER)
    with transaction.atomic():
        mirror = changing.locked(name, user)
        changing.require_proof(mirror)
        yield mirror


@router.post("/{name}/scan", response={202: ShownMirror})
def scan_mirror(request: HttpRequest, name: str) -> Status[dict[str, Any]]:
    """Have a mirror scanned now; its `last_scan` changes when that is done."""
    with _looked_at(request, name) as mirror:
        tasks.want_scan(mirror)
    return Status(HTTPStatus.ACCEPTED, _shown(mirror, require(request, Role.READER)))


@router.post("/{name}/probe", response={202: ShownMirror})
def probe_mirror(request: HttpRequest, name: str) -> Status[dict[str, Any]]:
    """Have a mirror probed now; its `probed_at` changes when that is done."""
    with _looked_at(request, name) as mirror:
        tasks.want_probe(mirror)
    return Status(HTTPStatus.ACCEPTED, _shown(mirror, require(request, Role.READER)))


@router.post("/{name}/audit", response={202: ShownMirror})
def audit_mirror(request: HttpRequest, name: str) -> Status[dict[str, Any]]:
    """Have bytes of a mirror compared with our hashes now."""
    with _looked_at(request, name) as mirror:
        tasks.want_audit(mirror)
    return Status(HTTPStatus.ACCEPTED, _shown(mirror, require(request, Role.READER)))


@router.post("/{name}/prove", response={202: ShownMirror})
def prove_mirror(request: HttpRequest, name: str) -> Status[dict[str, Any]]:
    """Have the file that shows control of a mirror looked for now."""
    user = require(request, Role.READER)
    with transaction.atomic():
        mirror = changing.locked(name, user)
        registry_tasks.want_proof(mirror)
    return Status(HTTPStatus.ACCEPTED, _shown(mirror, user))


@router.post("/{name}/vouch", response=ShownMirror)
def vouch_for_mirror(request: HttpRequest, name: str, because: Because) -> dict[str, Any]:
    """Take control of a mirror as shown, on a coordinator's word."""
    user = require(request, Role.COORDINATOR)
    with transaction.atomic():
        changing.vouch(changing.locked(name, user), user, because.why)
    return _shown(Mirror.named(name), user)


@router.post("/{name}/lift-quarantine", response=ShownMirror)
def lift_quarantine(request: HttpRequest, name: str, because: Because) -> dict[str, Any]:
    """Let clients be sent to a mirror again that served other bytes than ours."""
    user = require(request, Role.COORDINATOR)
    with transaction.atomic():
        changing.lift_quarantine(changing.locked(name, user), user, because.why)
    return _shown(Mirror.named(name), user)


@router.post("/{name}/trust-host-key", response=ShownMirror)
def trust_host_key(request: HttpRequest, name: str, key: HostKeyTrusted) -> dict[str, Any]:
    """Take the SSH host key that a mirror showed at the last push for the right one."""
    user = require(request, Role.COORDINATOR)
    with transaction.atomic():
        HostKey.of(changing.locked(name, user)).trust(key.fingerprint, who=user.label)
    return _shown(Mirror.named(name), user)


@router.post("/{name}/rsync-password", response={201: ShownAccess})
def renew_rsync_password(
    request: HttpRequest, response: HttpResponse, name: str
) -> Status[dict[str, str]]:
    """Give a mirror a new password for what is under embargo; the one before is void."""
    user = require(request, Role.READER)
    with transaction.atomic():
        mirror = changing.locked(name, user)
        access = changing.renew_rsync_password(mirror, user)
    response["Cache-Control"] = "no-store"
    shown = {"user": access.user, "module": access.module, "url": access.url}
    return Status(HTTPStatus.CREATED, {**shown, "password": access.password.reveal()})
