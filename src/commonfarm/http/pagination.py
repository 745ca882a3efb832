"""Cursor pagination: pages by the last key seen, so they stay right while rows are added."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from django.db.models import Model, QuerySet
from ninja import Field, Schema

M = TypeVar("M", bound=Model)
T = TypeVar("T")

MOST = 500


class Paging(Schema):
    """How much of a list is asked for; `after` is the `next` of the page before."""

    after: int | None = Field(None, ge=0, le=2**63 - 1)
    limit: int = Field(50, ge=1, le=MOST)


class Page(Schema, Generic[T]):
    """Part of a list; `next` is there while more follows."""

    items: list[T]
    next: int | None = None


def newest_first(rows: QuerySet[M], paging: Paging, show: Callable[[M], Any]) -> dict[str, Any]:
    """Return the page of `rows` by descending primary key, each row through `show`."""
    if paging.after is not None:
        rows = rows.filter(pk__lt=paging.after)
    found = list(rows.order_by("-pk")[: paging.limit + 1])
    more = len(found) > paging.limit
    found = found[: paging.limit]
    return {"items": [show(row) for row in found], "next": found[-1].pk if more else None}
