"""The pages of release trees, and of the releases on their way into them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import wraps
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.cache import patch_cache_control
from django.views.decorators.http import require_http_methods, require_safe

from commonfarm.accounts.interface import Role, User
from commonfarm.archive.browsing import folder_of
from commonfarm.archive.models import Publication, Release, ReleaseFile, ReleaseState
from commonfarm.archive.release_api import embargo_end, release_for, release_of, send
from commonfarm.archive.releases import going_public, history, lifecycle
from commonfarm.archive.showing import (
    WAITING,
    show_difference,
    show_release,
    show_release_file,
    show_tree,
    told_to,
)
from commonfarm.archive.trees import aliases_of, current_revision
from commonfarm.estate.interface import ReleaseTree
from commonfarm.http.interface import page, require
from commonfarm.lib.errors import BadInputError, NotFoundError, Problem, Reason

View = Callable[..., HttpResponseBase]

MOST_RELEASES = 30
MOST_PUBLICATIONS = 20
MOST_FILES = 200
MOST_ALIASES = 100


@require_safe
@page()
def trees(request: HttpRequest) -> HttpResponse:
    """Show every release tree."""
    user = require(request, Role.READER)
    rows = ReleaseTree.objects.filter(retired_at=None).order_by("name")
    return render(request, "archive/trees.html", {"trees": [show_tree(row, user) for row in rows]})


@require_safe
@page()
def tree(request: HttpRequest, name: str) -> HttpResponse:
    """Show one tree: what waits for somebody, what users see, and how it came to be."""
    found, user = ReleaseTree.named(name), require(request, Role.READER)
    rows = told_to(user).filter(tree=found).select_related("tree", "publication")
    aliases = aliases_of(found, current_revision(found))
    waiting = rows.filter(state__in=WAITING).order_by("number")
    shown = {
        "tree": found,
        "shown": show_tree(found, user),
        "waiting": [show_release(row) for row in waiting[:MOST_RELEASES]],
        "tells_waiting": user.may(Role.SUBMITTER),
        "past": [
            show_release(row)
            for row in rows.exclude(state__in=WAITING).order_by("-number")[:MOST_RELEASES]
        ],
        "publications": Publication.objects.filter(tree=found).order_by("-revision")[
            :MOST_PUBLICATIONS
        ],
        "aliases": aliases[:MOST_ALIASES],
        "more_aliases": max(aliases.count() - MOST_ALIASES, 0),
    }
    return render(request, "archive/tree.html", shown)


@require_safe
@page()
def tree_files(request: HttpRequest, name: str) -> HttpResponse:
    """Show a folder of a tree as users see it."""
    found = ReleaseTree.named(name)
    below = request.GET.get("below", "").strip("/")
    listed = folder_of(found, current_revision(found), below if "\0" not in below else "")
    parts = below.split("/") if below else []
    crumbs = [("/".join(parts[: at + 1]), part) for at, part in enumerate(parts)]
    shown = {"tree": found, "below": below, "crumbs": crumbs, "listed": listed}
    return render(request, "archive/tree_files.html", shown)


@require_http_methods(["GET", "HEAD", "POST"])
@page()
def release(request: HttpRequest, name: str, number: int) -> HttpResponse:
    """Show one release; a coordinator may take it further."""
    user = require(request, Role.READER)
    found = release_for(user, ReleaseTree.named(name), number)
    if request.method == "POST":
        require(request, Role.COORDINATOR)
        messages.success(request, _act(found, request.POST.get("action", ""), request, user))
        return redirect("release", name, number)
    shown = {
        "release": found,
        "shown": show_release(found),
        "may_act": user.may(Role.COORDINATOR),
        "may_fetch": user.may(Role.SUBMITTER),
        "own": found.put_by == user.label and found.tree.review == "other",
        "files": _files(found),
        "changes": show_difference(history.of_release(found), MOST_FILES)
        if found.state in WAITING
        else None,
    }
    return render(request, "archive/release.html", shown)


@require_safe
@page(Role.SUBMITTER)
def release_file(request: HttpRequest, name: str, number: int) -> HttpResponseBase:
    """Send a file of a release that may not be public yet."""
    return send(request, release_of(ReleaseTree.named(name), number), request.GET.get("path", ""))


def _private(view: View) -> View:
    """Keep what a secret address leads to out of caches, and that out of others' Referer."""

    @wraps(view)
    def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        response = view(request, *args, **kwargs)
        patch_cache_control(response, private=True, no_store=True)
        response["Referrer-Policy"] = "no-referrer"
        response["X-Robots-Tag"] = "noindex"
        return response

    return shown


@require_safe
@_private
@page(None)
def unlisted(request: HttpRequest, token: str) -> HttpResponse:
    """Show a release to whoever has its link."""
    found = _by_link(token)
    shown = {"release": found, "shown": show_release(found), "files": _files(found), "token": token}
    return render(request, "archive/unlisted.html", shown)


@require_safe
@_private
@page(None)
def unlisted_file(request: HttpRequest, token: str) -> HttpResponseBase:
    """Send a file of a release to whoever has its link."""
    return send(request, _by_link(token), request.GET.get("path", ""))


def _by_link(token: str) -> Release:
    found = lifecycle.by_link(token)
    if found is None:
        raise NotFoundError(
            Reason(
                "no-such-link",
                "this link leads to nothing, or no longer",
                "look whether it is public by now, or ask whoever sent it",
            )
        )
    return found


def _files(found: Release) -> dict[str, Any]:
    rows = ReleaseFile.objects.filter(release=found).select_related("blob").order_by("path")
    listed = [show_release_file(row) for row in rows[:MOST_FILES]]
    return {"first": listed, "more": max(rows.count() - MOST_FILES, 0)}


def _act(found: Release, action: str, request: HttpRequest, user: User) -> str:
    why, now = request.POST.get("why", "").strip(), timezone.now()
    match action:
        case "approve":
            lifecycle.review(found, ok=True, who=user.label, now=now, why=why)
            return "It may be published now."
        case "reject":
            if found.state == ReleaseState.UNLISTED:
                lifecycle.review(found, ok=False, who=user.label, now=now, why=why)
            else:
                lifecycle.reject(found, who=user.label, now=now, why=why)
            return "It is rejected."
        case "publish":
            when = embargo_end(_time(request.POST.get("visible_from", "")), now)
            going_public.publish(found, now=now, who=user.label, visible_from=when)
            return "It is under embargo." if when else "It is being published."
        case "withdraw":
            at_once = request.POST.get("at_once") == "on"
            going_public.withdraw(found, who=user.label, why=why, at_once=at_once)
            return "It is being withdrawn."
    raise BadInputError(
        Problem("action", 0, 0, f"{action[:40]!r} is nothing to do", "use a button")
    )


def _time(text: str) -> datetime | None:
    """Read what a browser's field of a local time gives, which is taken as UTC."""
    if not text:
        return None
    try:
        return datetime.fromisoformat(text).replace(tzinfo=UTC)
    except ValueError:
        raise BadInputError(
            Problem("visible_from", 0, 0, f"{text[:40]!r} is no time", "write 2026-01-31T12:00")
        ) from None
