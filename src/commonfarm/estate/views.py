"""The estate's pages: what there is, what runs on it, until when, and who gives it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from commonfarm.estate import ahead, logos, pages
from commonfarm.estate.drawing import curves
from commonfarm.estate.drawing import map as drawing
from commonfarm.estate.models import Following, Load, LoadedFile
from commonfarm.estate.pages import Estate
from commonfarm.http.interface import Paging, newest_first, page
from commonfarm.store.interface import read

HOSTS_SHOWN = 60
INSTANCES_SHOWN = 200
UNPLACED_SHOWN = 20
LOADS_SHOWN = 3
LOSSES_SHOWN = 15
CURVES_SHOWN = 6
OUTLOOKS_SHOWN = 60
AWAITED = {
    "hosts": ("plan",),
    "host": ("plan",),
    "services": ("plan",),
    "service": ("plan",),
    "pledges": ("plan", "cliffs"),
    "forecast": ("forecast",),
    "wanted": ("wanted",),
}
"""Page -> the answers that it shows. It looks again by itself while one of them is being made."""
AGAIN_SECONDS = 10
OVERVIEW_AGAIN_SECONDS = 30
PICTURE_POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""What a picture may do: be looked at. Its own style counts; nothing is loaded, nothing runs."""

PARTS = (
    ("Overview", "estate"),
    ("Hosts", "estate-hosts"),
    ("Services", "estate-services"),
    ("Pledges", "estate-pledges"),
    ("Forecast", "estate-forecast"),
    ("Wanted", "estate-wanted"),
    ("Changes", "estate-changes"),
    ("Sponsors", "sponsors"),
)


def today() -> date:
    """Return today in UTC."""
    return datetime.now(UTC).date()


@require_safe
@page()
def overview(request: HttpRequest) -> HttpResponse:
    """Show the estate at a glance: at which commit, what does not fit, what ends next."""
    estate = Estate.current(today())
    if estate is None:
        return _show(request, "overview", None)
    lines = estate.lines()
    shown = {
        "short": estate.short[:UNPLACED_SHOWN],
        "more_short": max(0, len(estate.short) - UNPLACED_SHOWN),
        "standing": sum(not one["span"].over for one in lines),
        "next_ends": [one for one in lines if one["span"].ends and not one["span"].over][:3],
        "loads": Load.objects.defer("facts").order_by("-pk")[:LOADS_SHOWN],
        "assumptions": estate.facts.assumptions,
    }
    return _show(request, "overview", estate, **shown)


@require_safe
@page()
def hosts(request: HttpRequest) -> HttpResponse:
    """Show hosts as bars with what runs on them, those of one site if asked."""
    estate = Estate.current(today())
    if estate is None:
        return _show(request, "hosts", None)
    site = request.GET.get("site", "")
    wanted = [one for one in estate.hosts if not site or one.site == site]
    part = _part(request, wanted, HOSTS_SHOWN)
    rows = part["rows"]
    shown = {
        "site": site,
        "places": _by_place(estate, [estate.card(one) for one in rows]),
        "part": part,
        "colours": [(name, estate.colours.of(name)) for name in _services_of(estate, rows)],
    }
    return _show(request, "hosts", estate, **shown)


@require_safe
@page()
def host(request: HttpRequest, name: str) -> HttpResponse:
    """Show one host: what it has, what runs on it, who gave it and until when."""
    estate = Estate.current(today())
    if estate is None:
        return _show(request, "hosts", None)
    found = estate.host(name)
    shown = {
        "card": estate.card(found),
        "amounts": pages.amounts_of(found),
        "pledge": pages.pledge_of(estate.facts, found),
        "rows": [estate.instance(one) for one in estate.guests[name]],
    }
    return _show(request, "host", estate, **shown)


@require_safe
@page()
def services(request: HttpRequest) -> HttpResponse:
    """List the services, and how much of each has a host."""
    estate = Estate.current(today())
    if estate is None:
        return _show(request, "services", None)
    rows: list[dict[str, Any]] = []
    for service in estate.facts.services.values():
        its = estate.instances[service.name]
        placed = [one for one in its if one.name in estate.on]
        safe = [estate.plan.safe_until.get(one.name) for one in placed] if estate.plan else []
        ends = [day for day in safe if day]
        rows.append(
            {
                "service": service,
                "colour": estate.colours.of(service.name),
                "all": len(its),
                "placed": len(placed),
                "safe_until": min(ends) if ends else None,
            }
        )
    rows.sort(key=lambda one: (one["placed"] == one["all"], one["service"].name))
    return _show(request, "services", estate, rows=rows)


@require_safe
@page()
def service(request: HttpRequest, name: str) -> HttpResponse:
    """Show one service: its environments, its instances, where they run and why some do not."""
    estate = Estate.current(today())
    if estate is None:
        return _show(request, "services", None)
    found = estate.service(name)
    # Those without a host come first: they are what a person looks for.
    its = sorted(estate.instances[name], key=lambda one: one.name in estate.on)
    part = _part(request, its, INSTANCES_SHOWN)
    shown = {"rows": [estate.instance(one) for one in part["rows"]], "part": part}
    return _show(request, "service", estate, service=found, **shown)


@require_safe
@page()
def pledges(request: HttpRequest) -> HttpResponse:
    """Show pledges as a line of time, and what happens where one ends."""
    estate = Estate.current(today())
    if estate is None:
        return _show(request, "pledges", None)
    lines = estate.lines()
    vanished = estate.cliffs["today"] if estate.cliffs else []
    felt = [one for one in vanished if one["lost"] or one["moves"]]
    shown = {
        "now": [one for one in lines if not one["span"].over],
        "over": [one for one in lines if one["span"].over],
        "ends": estate.cliffs["ends"] if estate.cliffs else None,
        "losses": felt[:LOSSES_SHOWN],
        "more_losses": max(0, len(felt) - LOSSES_SHOWN),
        "idle": len(vanished) - len(felt),
        "axis": estate.axis(),
        "failed": estate.failed("cliffs"),
    }
    return _show(request, "pledges", estate, **shown)


@require_safe
@page()
def forecast(request: HttpRequest) -> HttpResponse:
    """Show what runs out and when, with curves, and which split of a service comes next."""
    estate = Estate.current(today())
    document = estate.forecast() if estate else None
    if estate is None or document is None:
        failed = estate.failed("forecast") if estate else None
        return _show(request, "forecast", estate, document=None, failed=failed)
    own = [one for one in document["outlooks"] if one["scope"] != "service"]
    rows = [ahead.row(one) for one in (*own, *document["networks"])]
    rows.sort(key=lambda one: one["first"])
    out = [one for one in rows if one["out"]]
    part = _part(request, out, OUTLOOKS_SHOWN)
    shown = {
        "document": document,
        "part": part,
        "rows": part["rows"],
        "lasting": len(rows) - len(out),
        "curves": [one for one in rows[part["first"] - 1 :] if one["curve"]][:CURVES_SHOWN],
        "rungs": [ahead.rung(one) for one in document["rungs"]],
        "transfers": [ahead.transfer(one) for one in document["transfers"]],
    }
    return _show(request, "forecast", estate, **shown)


@require_safe
@page()
def curve(request: HttpRequest) -> HttpResponse:
    """Draw the curve of one resource class somewhere: a picture for the forecast's page."""
    estate = Estate.current(today())
    document = estate.forecast() if estate else None
    wanted = tuple(request.GET.get(key, "") for key in ("scope", "name", "resource"))
    for one in (*document["outlooks"], *document["networks"]) if document else ():
        if (one["scope"], one["name"], one["resource"]) == wanted and len(one["points"]) > 1:
            return _picture(curves.draw(one), "image/svg+xml")
    raise Http404("there is no such curve")


@require_safe
@page()
def wanted(request: HttpRequest) -> HttpResponse:
    """Show what to ask sponsors for so that all has a place, and the letter that asks for it."""
    estate = Estate.current(today())
    found = estate.wanted if estate else None
    if estate is None or found is None:
        failed = estate.failed("wanted") if estate else None
        return _show(request, "wanted", estate, likely=None, failed=failed)
    likely, high = ahead.asked(found["likely"]), ahead.asked(found["high"])
    letter = "\n".join(found["letter"])
    return _show(request, "wanted", estate, likely=likely, high=high, letter=letter)


@require_safe
@page()
def picture(request: HttpRequest) -> HttpResponse:
    """Draw the whole estate as one picture."""
    estate = Estate.current(today())
    if estate is None:
        raise Http404("no estate is loaded")
    unplaced = {one.instance: one.reasons[0].text if one.reasons else "" for one in estate.unplaced}
    shown = drawing.Shown(estate.facts, estate.today, estate.on, unplaced)
    return _picture(drawing.draw(shown), "image/svg+xml")


@require_safe
@page()
def changes(request: HttpRequest) -> HttpResponse:
    """List what was loaded, newest first, and what each changed."""
    after = request.GET.get("after", "")
    paging = Paging(after=int(after) if after.isdecimal() and len(after) < 19 else None, limit=30)
    found = newest_first(Load.objects.defer("facts"), paging, lambda row: row)
    estate = Estate.current(today())
    return _show(request, "changes", estate, loads=found["items"], following=found["next"])


@require_safe
@page(None)
def sponsors(request: HttpRequest) -> HttpResponse:
    """Thank who gives, as each allowed; everyone may see it."""
    estate = Estate.current(today())
    return _show(request, "sponsors", estate, **(pages.thanks(estate) if estate else {}))


@require_safe
@page(None)
def logo(request: HttpRequest, name: str) -> HttpResponse:
    """Give the logo of a sponsor that is named; everyone may see it."""
    estate = Estate.current(today())
    if estate is None or pages.logo_of(estate.facts, name) is None:
        raise Http404("there is no such logo")
    file = LoadedFile.objects.filter(load=estate.load, name=name).first()
    if file is None:
        raise Http404("there is no such logo")
    answer = _picture(read(file.blob_id), logos.kind_of(name))
    answer.headers["Cache-Control"] = "public, max-age=300"
    return answer


def _part(request: HttpRequest, rows: Sequence[Any], most: int) -> dict[str, Any]:
    """Return the rows of a page that begins after as many as the query says, and where they lie."""
    after = request.GET.get("after", "")
    start = int(after) if after.isdecimal() and len(after) < 9 else 0
    shown = rows[start : start + most]
    following = start + most if start + most < len(rows) else None
    places = {"first": start + 1, "last": start + len(shown), "count": len(rows)}
    return {"rows": shown, "following": following, **places}


def _show(request: HttpRequest, name: str, estate: Estate | None, **shown: Any) -> HttpResponse:
    """Render a page of the estate, with what all of them show."""
    told = {"estate": estate, "parts": PARTS, "followed": Following.current(), **shown}
    return render(request, f"estate/{name}.html", told | {"again": _again(name, estate)})


def _again(name: str, estate: Estate | None) -> int | None:
    """Return after how many seconds a page looks again by itself, None where it need not."""
    if name in AWAITED and (estate is None or estate.waits(*AWAITED[name])):
        return AGAIN_SECONDS
    return OVERVIEW_AGAIN_SECONDS if name == "overview" else None


def _picture(data: str | bytes, kind: str) -> HttpResponse:
    return HttpResponse(
        data, content_type=kind, headers={"Content-Security-Policy": PICTURE_POLICY}
    )


def _by_place(estate: Estate, cards: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return cards in groups of one site and rack; what a site shares stands in its first."""
    places: list[dict[str, Any]] = []
    for card in cards:
        site, rack = card["host"].site, card["host"].rack
        last = places[-1] if places else {"site": ""}
        if not places or (last["site"], last["rack"]) != (site, rack):
            shared = estate.shared(site) if last["site"] != site else []
            places.append({"site": site, "rack": rack, "shared": shared, "cards": []})
        places[-1]["cards"].append(card)
    return places


def _services_of(estate: Estate, rows: list[Any]) -> list[str]:
    return sorted({one.service for host in rows for one in estate.guests[host.name]})
