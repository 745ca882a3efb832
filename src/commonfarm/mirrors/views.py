"""Pages of all mirrors: how they stand, what they carry, what they lack, where clients are sent."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from commonfarm.accounts.interface import Role, User
from commonfarm.archive.interface import TreeFile
from commonfarm.estate.interface import ReleaseTree
from commonfarm.http.interface import page, require
from commonfarm.lib.errors import BadInputError, UnreachableError
from commonfarm.mirrors import arriving, changing, coverage, explaining, override_pages, sharing
from commonfarm.mirrors.models import Mirror, State
from commonfarm.mirrors.shown import sees_all, standings
from commonfarm.redirector.countries import COUNTRIES
from commonfarm.store.interface import read

URGENT = {
    State.QUARANTINED: "quarantined",
    State.DOWN: "down",
    State.UP: "not scanned",
    State.UNPROVED: "unproved",
}
"""What is told first of those that need a person; one that is up could not be scanned."""
MOST_NEEDS = 10
MOST_TREES = 20
MOST_LACKING = 20
MOST_EXPLAINED = 300
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""What a picture may do: be looked at. Its own style counts; nothing is loaded, nothing runs."""
PARTS = (
    ("Mirrors", "mirrors"),
    ("Downloads", "mirror-downloads"),
    ("Releases", "mirror-releases"),
    ("Files", "mirror-files"),
    ("Where to?", "mirror-explain"),
    ("Public list", "mirror-list"),
)


def today() -> datetime:
    """Return now, in UTC."""
    return datetime.now(UTC)


@require_safe
@page(None)
def mirrors(request: HttpRequest) -> HttpResponse:
    """Show every mirror by country, those that need a person first; strangers the public list."""
    if not isinstance(request.user, User):
        return redirect("mirror-list")
    user = require(request, Role.READER)
    rows = Mirror.registered().prefetch_related("administrators").order_by("country", "name")
    found = standings(rows)
    month = sharing.shares(today().date(), sharing.DAYS)
    # Whoever runs none of them cannot help, and may not know why.
    needs = [one for one in found if one.needs_a_person and sees_all(user, one.mirror)]
    needs.sort(key=lambda one: (list(URGENT).index(one.state), one.mirror.name))
    carried = {one.name: one for one in month.rows}
    by_country = [
        {
            "name": _country(code),
            "rows": [{"standing": one, "share": carried.get(one.mirror.name)} for one in group],
        }
        for code, group in groupby(found, key=lambda one: one.mirror.country)
    ]
    by_country.sort(key=lambda one: str(one["name"]))
    shown = {
        "standings": found,
        "up": sum(one.state == State.UP for one in found),
        "needs": needs[:MOST_NEEDS],
        "more_needs": max(0, len(needs) - MOST_NEEDS),
        "need_count": len(needs),
        "kinds": [
            f"{count} {word}"
            for state, word in URGENT.items()
            if (count := sum(one.state == state for one in needs))
        ],
        "countries": by_country,
        "month": month,
        "mine": [one for one in found if user in one.mirror.administrators.all()],
    }
    return _show(request, "mirrors", **shown)


@require_safe
@page()
def downloads(request: HttpRequest) -> HttpResponse:
    """Show who carried the downloads, today and in the last thirty days."""
    now = today().date()
    month = sharing.shares(now, sharing.DAYS)
    shown = {
        "day": sharing.shares(now),
        "month": month,
        "rows": month.rows[: sharing.MOST_ROWS],
        "countries": [{"share": one, "name": _country(one.name)} for one in sharing.countries(now)],
        "files": sharing.files(now),
    }
    return _show(request, "downloads", **shown)


@require_safe
@page()
def days(request: HttpRequest) -> HttpResponse:
    """Draw what mirrors and we ourselves carried, day by day."""
    return picture(sharing.draw_days(sharing.by_day(today().date())), "image/svg+xml")


@require_safe
@page()
def releases(request: HttpRequest) -> HttpResponse:
    """Show the newest releases, and how many mirrors have them."""
    found = arriving.releases(_serving())
    return _show(request, "releases", releases=found, most_lacking=MOST_LACKING)


@require_safe
@page()
def release(request: HttpRequest, tree: str, revision: int) -> HttpResponse:
    """Draw how many mirrors had a release, minute by minute."""
    for one in arriving.releases(_serving()):
        if (one.tree.name, one.revision) == (tree, revision):
            return picture(arriving.draw(one, today()), "image/svg+xml")
    raise Http404("there is no such release")


@require_safe
@page()
def files(request: HttpRequest) -> HttpResponse:
    """Show how many mirrors have the files of each tree, and those that too few have."""
    trees = list(ReleaseTree.objects.filter(retired_at=None).order_by("name")[:MOST_TREES])
    wanted = request.GET.get("tree", "")
    chosen = next((one for one in trees if one.name == wanted), trees[0] if trees else None)
    serving = _serving()
    found = coverage.of_tree(chosen, serving) if chosen else None
    shown = {
        "trees": trees,
        "chosen": chosen,
        "coverage": found,
        "thin": coverage.thin(found) if found else [],
        "enough": coverage.ENOUGH,
    }
    return _show(request, "files", **shown)


@require_safe
@page()
def explain(request: HttpRequest) -> HttpResponse:
    """Show where a client would be sent and why, each mirror with its reason."""
    asked = {key: request.GET.get(key, "").strip() for key in ("path", "from", "country", "as")}
    https = "https" in request.GET or not request.GET
    shown: dict[str, Any] = {"asked": asked, "https": https, "example": _example()}
    if asked["path"]:
        try:
            the_map = explaining.map_in_force(settings.COMMONFARM)
            number = asked["as"].upper().removeprefix("AS")
            question = explaining.Asked(
                path=asked["path"],
                at=time.time(),
                address=asked["from"],
                country=asked["country"],
                as_number=int(number) if number.isdecimal() and len(number) < 11 else None,
                https=https,
            )
            spent = explaining.spent_today(settings.COMMONFARM, question.at)
            places = explaining.places_of(settings.COMMONFARM)
            answer = explaining.document(explaining.explain(the_map, question, spent, places))
            left_out = answer["left_out"]
            shown |= {
                "answer": answer,
                "country_name": _country(answer["country"]),
                "mirrors": [
                    {**one, "percent": "" if one["share"] is None else f"{one['share']:.0%}"}
                    for one in answer["mirrors"][:MOST_EXPLAINED]
                ],
                "left_out": left_out[:MOST_EXPLAINED],
                "more": len(left_out[MOST_EXPLAINED:]),
            }
        except (BadInputError, UnreachableError) as error:
            shown["refused"] = error.reason
    if isinstance(request.user, User) and request.user.may(Role.COORDINATOR):
        rows = override_pages.rows()
        shown["overrides"] = rows[:MOST_EXPLAINED]
        shown["more_overrides"] = len(rows[MOST_EXPLAINED:])
    return _show(request, "explain", **shown)


@require_safe
@page(None)
def public(request: HttpRequest) -> HttpResponse:
    """List the mirrors that serve, by country, for everybody."""
    rows = [one.mirror for one in standings(_registered()) if one.state == State.UP]
    by_country = [
        {"code": code, "name": _country(code), "mirrors": list(group)}
        for code, group in groupby(rows, key=lambda one: one.country)
    ]
    by_country.sort(key=lambda one: str(one["name"]))
    return _show(request, "public", countries=by_country, count=len(rows))


@require_safe
@page(None)
def logo(request: HttpRequest, name: str) -> HttpResponse:
    """Give the logo of a mirror's sponsor: to everybody once control of the mirror is proved."""
    mirror = Mirror.named(name)
    user = request.user
    seen = mirror.proved_at is not None or (isinstance(user, User) and sees_all(user, mirror))
    if mirror.logo_id is None or not seen:
        raise Http404("there is no such logo")
    data = read(mirror.logo_id)
    answer = picture(data, changing.logo_kind(data) or "application/octet-stream")
    answer.headers["Cache-Control"] = "public, max-age=300"
    return answer


def picture(data: str | bytes, kind: str) -> HttpResponse:
    """Answer with a picture in which nothing runs."""
    headers = {"Content-Security-Policy": PICTURE_POLICY}
    return HttpResponse(data, content_type=kind, headers=headers)


def _registered() -> Any:
    return Mirror.registered().order_by("country", "name")


def _serving() -> list[Mirror]:
    return [one.mirror for one in standings(_registered()) if one.state == State.UP]


def _example() -> str:
    """Return a path that clients may ask for, empty while nothing is published."""
    found = TreeFile.objects.filter(until_revision=None, changes=False).select_related("tree")
    newest = found.order_by("-pk").first()
    return f"{newest.tree}/{newest.path}" if newest else ""


def _country(code: str) -> str:
    known = COUNTRIES.get(code)
    return known.name if known else "an unknown country" if code == "ZZ" else code


def _show(request: HttpRequest, name: str, **shown: Any) -> HttpResponse:
    """Render a page, with what all of them show."""
    coordinates = isinstance(request.user, User) and request.user.may(Role.COORDINATOR)
    told = {"parts": PARTS, "coordinates": coordinates, **shown}
    return render(request, f"mirrors/{name}.html", told)
