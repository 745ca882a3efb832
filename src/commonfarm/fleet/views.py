"""The builders' pages: all of them, and one with what it runs and ran."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.http import require_http_methods, require_safe

from commonfarm.accounts.interface import Role, User
from commonfarm.fleet import ports
from commonfarm.fleet.models import Builder
from commonfarm.http.interface import page, require

MOST_WORK = 20


@require_safe
@page()
def builders(request: HttpRequest) -> HttpResponse:
    """Show every builder and what it does now."""
    now = timezone.now()
    rows = Builder.objects.select_related("pool").order_by("pool__name", "name")
    shown = [{"builder": row, "state": row.state(now)} for row in rows]
    return render(request, "fleet/builders.html", {"builders": shown})


@require_http_methods(["GET", "HEAD", "POST"])
@page()
def builder(request: HttpRequest, name: str) -> HttpResponse:
    """Show one builder; a coordinator may cordon it or lift that."""
    found = Builder.named(name)
    now = timezone.now()
    if request.method == "POST":
        user = require(request, Role.COORDINATOR)
        if request.POST.get("action") == "uncordon":
            found.uncordon(who=user.label)
        else:
            found.cordon(request.POST.get("reason", ""), who=user.label, now=now)
        messages.success(request, f"{found.name} is {found.state(now)}.")
        return redirect("builder", name)
    shown = {
        "builder": found,
        "state": found.state(now),
        "refusal": found.refusal(found.generation) if found.cordoned_at else None,
        "work": ports.work_of.get()(found, MOST_WORK),
        "limits": found.facts.get("limits", {}),
        "claims": {key: value for key, value in found.facts.items() if key != "limits"},
        "may_change": isinstance(request.user, User) and request.user.may(Role.COORDINATOR),
    }
    return render(request, "fleet/builder.html", shown)
