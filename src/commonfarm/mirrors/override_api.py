"""The API of the operator's overrides: where clients of a network are sent. For coordinators."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from django.http import HttpRequest
from ninja import Field, Query, Router, Schema, Status

from commonfarm.accounts.interface import Role
from commonfarm.http.interface import Page, Paging, newest_first, require
from commonfarm.mirrors import overrides
from commonfarm.mirrors.models import Override
from commonfarm.mirrors.shown import ShownReason, reason

router = Router(tags=["mirrors"])

Why = Annotated[str, Field(max_length=1000, pattern=r"^[^\x00]*$")]
Network = Annotated[str, Field(max_length=60, pattern=r"^[^\x00]*$")]
Name = Annotated[str, Field(max_length=100, pattern=r"^[^\x00]*$")]


class NewOverride(Schema):
    """Where clients of a network are sent: just one of `country`, `mirrors` and `origin`."""

    network: Network
    country: Annotated[str, Field(max_length=2, pattern=r"^[^\x00]*$")] = ""
    mirrors: Annotated[list[Name], Field(max_length=overrides.MOST_MIRRORS)] = []
    origin: bool = False
    why: Why


class ShownOverride(Schema):
    """An override, and how it lies among the others: the longest prefix counts.

    `within` is the next larger network that has one, `inside` how many have smaller ones in it.
    `problem` says which of its mirrors the map leaves out.
    """

    network: str
    country: str
    mirrors: list[str]
    origin: bool
    why: str
    within: str
    inside: int
    problem: ShownReason | None
    added_by: str
    added_at: datetime


class Because(Schema):
    """Why something is done, for the journal."""

    why: Why = ""


@router.get("", response=Page[ShownOverride])
def list_overrides(request: HttpRequest, paging: Query[Paging]) -> dict[str, Any]:
    """List the overrides, newest first."""
    require(request, Role.COORDINATOR)
    nesting = overrides.nestings()
    rows = Override.objects.prefetch_related("mirrors")
    return newest_first(rows, paging, lambda row: _shown(row, nesting[row.network]))


@router.post("", response={201: ShownOverride})
def add_override(request: HttpRequest, new: NewOverride) -> Status[dict[str, Any]]:
    """Say where clients of a network are sent; they are within seconds."""
    user = require(request, Role.COORDINATOR)
    made = overrides.declare(**new.dict(), user=user)
    nesting = overrides.nestings().get(made.network, overrides.Nesting())
    return Status(HTTPStatus.CREATED, _shown(made, nesting))


@router.delete("/{path:network}", response={204: None})
def remove_override(request: HttpRequest, network: str, asked: Query[Because]) -> Status[None]:
    """Have clients of a network sent as others are, or as a larger network's override says."""
    user = require(request, Role.COORDINATOR)
    overrides.withdraw(network, user, asked.why)
    return Status(HTTPStatus.NO_CONTENT, None)


def _shown(row: Override, nesting: overrides.Nesting) -> dict[str, Any]:
    own = ("network", "country", "origin", "why", "added_by", "added_at")
    return {
        **{name: getattr(row, name) for name in own},
        "mirrors": row.names,
        "within": nesting.within,
        "inside": nesting.inside,
        "problem": reason(row.problem),
    }
