"""The archive's pages: all repositories, one with its packages, and the keys to download."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.http import require_safe

from commonfarm.archive.api import show_repository
from commonfarm.archive.models import Entry, Publication
from commonfarm.estate.interface import Repository
from commonfarm.http.interface import Paging, newest_first, page
from commonfarm.lib.errors import NotFoundError, Reason

MOST_PUBLICATIONS = 20
PAGE = 50


@require_safe
@page()
def repositories(request: HttpRequest) -> HttpResponse:
    """Show every repository."""
    rows = Repository.objects.filter(retired_at=None).select_related("tree").order_by("name")
    return render(
        request, "archive/repositories.html", {"repositories": [show_repository(r) for r in rows]}
    )


@require_safe
@page()
def repository(request: HttpRequest, name: str) -> HttpResponse:
    """Show one repository: how to use it, what is in it, and what was published when."""
    found = Repository.named(name)
    shown = show_repository(found)
    rows = Entry.objects.filter(repository=found).select_related("artifact__blob", "publication")
    after = request.GET.get("after", "")
    number = int(after) if after.isascii() and after.isdecimal() and len(after) < 19 else None
    entries = newest_first(rows, Paging(after=number, limit=PAGE), lambda row: row)
    suites = sorted(set(found.project_set.values_list("targets__suite", flat=True)) - {None})
    base = f"{settings.COMMONFARM.public_url('redirector')}/{found.tree.name}/{found.path}/"
    return render(
        request,
        "archive/repository.html",
        {
            "repository": found,
            "shown": shown,
            "entries": entries["items"],
            "next": entries["next"],
            "address": base,
            "suites": suites or shown["distributions"],
            "key_url": settings.COMMONFARM.public_url("hub") + reverse("archive-key"),
            "keyring": f"/etc/apt/keyrings/commonfarm-{settings.COMMONFARM.name}.asc",
            "publications": Publication.objects.filter(tree=found.tree).order_by("-revision")[
                :MOST_PUBLICATIONS
            ],
        },
    )


@require_safe
def archive_key(_request: HttpRequest) -> HttpResponse:
    """Give out the key by which apt verifies the repositories; nobody needs to sign in for it."""
    return _key("archive.asc", "application/pgp-keys")


@require_safe
def statements_key(_request: HttpRequest) -> HttpResponse:
    """Give out the key of provenance and mirror maps."""
    return _key("statements.pub", "application/x-pem-file")


def _key(name: str, kind: str) -> HttpResponse:
    try:
        data = (settings.COMMONFARM.public_keys / name).read_bytes()
    except FileNotFoundError:
        reason = Reason("no-key-yet", "the signer has made no key yet", "start the signer")
        return HttpResponse(f"{NotFoundError(reason)}\n", status=404, content_type="text/plain")
    response = HttpResponse(data, content_type=kind)
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    return response
