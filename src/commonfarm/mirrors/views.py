"""The mirrors' pages: all of them, and one with its scans."""

from __future__ import annotations

from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_safe

from commonfarm.accounts.interface import Role, User
from commonfarm.http.interface import page, require
from commonfarm.mirrors import tasks
from commonfarm.mirrors.models import Mirror

MOST_SCANS = 20
MOST_MISSING = 50
MOST_MIRRORS = 500


@require_safe
@page()
def mirrors(request: HttpRequest) -> HttpResponse:
    """Show every mirror and how its last scan found it."""
    rows = Mirror.objects.filter(removed_at=None).select_related("tree").order_by("tree", "name")
    shown = []
    for row in rows[:MOST_MIRRORS]:
        last = row.last_scan()
        shown.append({"mirror": row, "last": last, "state": row.state(last)})
    return render(request, "mirrors/mirrors.html", {"mirrors": shown})


@require_http_methods(["GET", "HEAD", "POST"])
@page()
def mirror(request: HttpRequest, name: str) -> HttpResponse:
    """Show one mirror; a coordinator may have it scanned, disabled or enabled."""
    found = Mirror.named(name)
    if request.method == "POST":
        user = require(request, Role.COORDINATOR)
        _act(found, request.POST.get("action", ""), user)
        messages.success(request, "Done: the mirror map follows in a moment.")
        return redirect("mirror", name)
    last = found.last_scan()
    missing = last.missing if last else []
    shown = {
        "mirror": found,
        "last": last,
        "state": found.state(last),
        "missing": missing[:MOST_MISSING],
        "more_missing": max(0, len(missing) - MOST_MISSING),
        "scans": found.scans.order_by("-id").defer("missing")[:MOST_SCANS],
        "may_change": isinstance(request.user, User) and request.user.may(Role.COORDINATOR),
    }
    return render(request, "mirrors/mirror.html", shown)


def _act(mirror: Mirror, action: str, user: User) -> None:
    with transaction.atomic():
        if action == "disable":
            mirror.disable(who=user.label)
        elif action == "enable":
            mirror.enable(who=user.label)
        if action in ("scan", "enable"):
            tasks.want_scan(mirror)
        tasks.want_map()
