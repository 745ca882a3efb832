"""The API of the fleet, for people. Builders speak to the farm's."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from ninja import Field, Query, Router, Schema, Status

from commonfarm.accounts.interface import Role
from commonfarm.estate.interface import Pool
from commonfarm.fleet.enrolment import make_enrolment_token
from commonfarm.fleet.models import Builder, EnrolmentToken
from commonfarm.http.interface import Page, Paging, newest_first, require

router = Router(tags=["fleet"])

Name = Annotated[str, Field(max_length=100, pattern=r"^[^\x00]+$")]
Text = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]+$")]


class BuilderShown(Schema):
    """A builder. `claims` is what it says of itself; sizes in bytes."""

    name: str
    pool: str
    state: str
    generation: int
    architecture: str
    features: list[str]
    cores: int
    memory_bytes: int
    disk_bytes: int
    slots: int
    running: int
    cleanliness: str
    cordoned_at: datetime | None
    cordon_reason: str
    enrolled_at: datetime
    last_seen_at: datetime | None
    claims: dict[str, Any]


class TokenIn(Schema):
    """Into which pool a builder may enrol."""

    pool: Name


class TokenMade(Schema):
    """A token, shown this once."""

    token: str
    pool: str
    expires_at: datetime


class CordonIn(Schema):
    """Why no new job is given."""

    reason: Text


def show(builder: Builder) -> dict[str, Any]:
    """Return a builder as the API shows it."""
    names = ("name", "generation", "architecture", "features", "cores", "memory_bytes")
    more = ("disk_bytes", "slots", "running", "cleanliness", "cordoned_at", "cordon_reason")
    shown = {name: getattr(builder, name) for name in (*names, *more)}
    return {
        **shown,
        "pool": builder.pool.name,
        "state": builder.state(timezone.now()),
        "enrolled_at": builder.enrolled_at,
        "last_seen_at": builder.last_seen_at,
        "claims": builder.facts,
    }


@router.get("/builders", response=Page[BuilderShown], summary="List builders")
def builders(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    """List the builders, newest first."""
    require(request, Role.READER)
    return newest_first(Builder.objects.select_related("pool"), paging, show)


@router.get("/builders/{name}", response=BuilderShown, summary="Show a builder")
def builder(request: HttpRequest, name: Name) -> dict[str, Any]:
    """Show one builder."""
    require(request, Role.READER)
    return show(Builder.named(name))


@router.post("/enrolment-tokens", response={201: TokenMade}, summary="Make a token for one builder")
def make_token(request: HttpRequest, asked: TokenIn, response: HttpResponse) -> Any:
    """Make a token by which one builder may enrol once, within 15 minutes."""
    user = require(request, Role.COORDINATOR)
    now = timezone.now()
    token = make_enrolment_token(Pool.named(asked.pool), who=user.label, now=now)
    response.headers["Cache-Control"] = "no-store"
    expires_at = now + EnrolmentToken.LIFETIME
    made = {"token": token.reveal(), "pool": asked.pool, "expires_at": expires_at}
    return Status(201, made)


@router.post("/builders/{name}/cordon", response=BuilderShown, summary="Cordon a builder")
def cordon(request: HttpRequest, name: Name, asked: CordonIn) -> dict[str, Any]:
    """Give a builder no new job; what it runs goes on."""
    user = require(request, Role.COORDINATOR)
    found = Builder.named(name)
    found.cordon(asked.reason, who=user.label, now=timezone.now())
    return show(found)


@router.post("/builders/{name}/uncordon", response=BuilderShown, summary="Uncordon a builder")
def uncordon(request: HttpRequest, name: Name) -> dict[str, Any]:
    """Let a builder have jobs again."""
    user = require(request, Role.COORDINATOR)
    found = Builder.named(name)
    found.uncordon(who=user.label)
    return show(found)
