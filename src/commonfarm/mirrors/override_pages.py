"""The part of the page *Where to?* on which coordinators see and set overrides."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_POST

from commonfarm.accounts.interface import Role
from commonfarm.http.interface import page, require
from commonfarm.mirrors import overrides
from commonfarm.mirrors.models import Override
from commonfarm.mirrors.wording import overridden


def rows() -> list[dict[str, Any]]:
    """Return what is shown of each override, by network."""
    found = list(Override.objects.prefetch_related("mirrors"))
    nesting = overrides.nested(row.network for row in found)
    shown = [
        {
            "row": row,
            "says": overridden(row.country, row.names, row.origin),
            "within": nesting[row.network].within,
            "problem": row.problem,
        }
        for row in found
    ]
    return sorted(shown, key=lambda one: _place(one["row"].network))


def _place(text: str) -> tuple[int, Any]:
    network = ip_network(text)
    return network.version, network


@require_POST
@page(Role.COORDINATOR)
def change(request: HttpRequest) -> HttpResponse:
    """Add an override, or remove one."""
    user = require(request, Role.COORDINATOR)
    sent = {key: str(value).replace("\0", "").strip() for key, value in request.POST.items()}
    network, why = sent.get("network", ""), sent.get("why", "")[:1000]
    if sent.get("action") == "remove":
        overrides.withdraw(network, user, why)
        done = f"The override of {network} is removed"
    else:
        country = sent.get("country", "")
        mirrors = sent.get("mirrors", "").replace(",", " ").split()
        origin = "origin" in sent
        made = overrides.declare(
            network, country=country, mirrors=mirrors, origin=origin, why=why, user=user
        )
        done = f"Clients in {made} {overridden(made.country, made.names, made.origin)}"
    messages.success(request, f"{done}: the mirror map follows in a moment.")
    return redirect("mirror-explain")
