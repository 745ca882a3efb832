"""The pages of one mirror: what everybody may see, and what those do who run it."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from commonfarm.accounts.interface import Role, User
from commonfarm.http.interface import page, require
from commonfarm.lib.errors import BadInputError, ForbiddenError, NotFoundError, Reason, RefusedError
from commonfarm.mirrors import changing, registry_tasks, sharing, tasks
from commonfarm.mirrors.forms import MirrorForm
from commonfarm.mirrors.models import HostKey, Mirror, Probe, Push, RsyncPassword, State
from commonfarm.mirrors.rsync_users import Access
from commonfarm.mirrors.shown import (
    ANSWERS,
    MOST_MISSING,
    Standing,
    administrators,
    entity_tag,
    proof_of,
    sees_all,
)
from commonfarm.mirrors.views import PARTS, today
from commonfarm.mirrors.wording import exact
from commonfarm.redirector.countries import COUNTRIES

MOST_ROWS = 10
MOST_LISTED = 100


@require_http_methods(["GET", "HEAD", "POST"])
@page(None)
def mirror(request: HttpRequest, name: str) -> HttpResponse:
    """Show one mirror; those who run it may do things with it."""
    if request.method != "POST":
        return _show(request, name)
    act = _act if request.POST.get("action") != "rsync-password" else _renew_rsync_password
    try:
        return act(request, name)
    except ForbiddenError:
        raise
    except (BadInputError, RefusedError) as error:  # where it can be tried again
        return _show(request, name, refused=error.reason)


def _renew_rsync_password(request: HttpRequest, name: str) -> HttpResponse:
    """Show a new password, in this answer alone: it is kept in no message and in no cache."""
    user = require(request, Role.READER)
    with transaction.atomic():
        access = changing.renew_rsync_password(changing.locked(name, user), user)
    response = _show(request, name, access)
    response["Cache-Control"] = "no-store"
    return response


def _show(
    request: HttpRequest, name: str, access: Access | None = None, refused: Reason | None = None
) -> HttpResponse:
    user = request.user if isinstance(request.user, User) else None
    found = Mirror.named(name)
    standing = Standing(found, found.last_scan())
    runs_it = user is not None and sees_all(user, found)
    if user is None and standing.state != State.UP:
        # Of one that serves nobody, strangers are told nothing.
        raise NotFoundError(
            Reason("no-such-mirror", "there is no such mirror", "see the public list")
        )
    now = today().date()
    known = COUNTRIES.get(found.country)
    shown: dict[str, Any] = {
        "parts": PARTS,
        "mirror": found,
        "standing": standing,
        "country": known.name if known else found.country,
        "runs_it": runs_it,
        "coordinates": user is not None and user.may(Role.COORDINATOR),
        "refused": refused,
        "month": sharing.shares(now, sharing.DAYS).of(name),
        "today": sharing.shares(now).of(name),
    }
    if runs_it:
        shown |= _details(standing) | {"access": access}
    status = HTTPStatus.CONFLICT if refused else HTTPStatus.OK
    return render(request, "mirrors/mirror.html", shown, status=status)


def _details(standing: Standing) -> dict[str, Any]:
    """Return what those see who run a mirror."""
    mirror, last = standing.mirror, standing.last
    probes = list(mirror.probes.order_by("-at")[:MOST_ROWS])
    has = {"http": bool(mirror.http), "https": bool(mirror.https)}
    ways = [
        {
            "name": f"{way[:-1]} over IPv{way[-1]}",
            "ok": bool(mirror.answers >> number & 1),
            "problem": _why_not(number, way, mirror, probes),
            # Many have no IPv6: that one family does not answer is not yet a fault.
            "other": bool(mirror.answers >> (number ^ 1) & 1),
        }
        for number, way in enumerate(ANSWERS)
        if has[way[:-1]]
    ]
    missing = last.missing[:MOST_MISSING] if last else []
    count = last.files_expected - last.files_found if last and last.ok else 0
    return {
        "looks": (("probe", "Probe"), ("scan", "Scan"), ("audit", "Audit")),
        "proof": proof_of(mirror),
        "administrators": administrators(mirror),
        "budget": exact(mirror.budget_bytes),
        "ways": ways,
        "missing": missing[:MOST_LISTED],
        "folded": missing[MOST_LISTED:],
        "missing_count": max(count, len(missing)),
        "more_missing": max(0, count - len(missing)),
        "scans": mirror.scans.order_by("-id").defer("missing")[:MOST_ROWS],
        "probes": probes,
        "audits": mirror.audits.order_by("-at")[:MOST_ROWS],
        "by_rsync": bool(settings.COMMONFARM.listen.rsync),
        "password": RsyncPassword.objects.filter(mirror=mirror).defer("password").first(),
        "push_key": _push_key() if mirror.push == Push.SSH else "",
        "host_key": HostKey.of(mirror) if mirror.push == Push.SSH else None,
        "pushes": mirror.pushes.order_by("-at")[:MOST_ROWS],
    }


def _push_key() -> str:
    """Return the public key that a mirror lets in to be told by SSH; empty before there is one."""
    try:
        return (settings.COMMONFARM.operator / "push-key.pub").read_text("ascii").strip()
    except OSError:
        return ""


def _why_not(number: int, way: str, mirror: Mirror, probes: Sequence[Probe]) -> str:
    """Return why clients are not sent there by one scheme over one address family."""
    if not probes or mirror.answers >> number & 1:
        return ""
    if probes[0].answers >> number & 1:
        return "it answers again, and is believed once it has done so for a while"
    return str(probes[0].problems.get(way, ""))


def _act(request: HttpRequest, name: str) -> HttpResponse:
    user = require(request, Role.READER)
    action, why = request.POST.get("action", ""), request.POST.get("why", "").replace("\0", "")
    done = "Done: the mirror map follows in a moment."
    with transaction.atomic():
        mirror = changing.locked(name, user)
        match action:
            case "disable" | "enable":
                changing.enable(mirror, action == "enable", user, why[:1000])
            case "remove":
                changing.remove(mirror, user, why[:1000])
            case "prove":
                registry_tasks.want_proof(mirror)
                done = "The file is looked for now."
            case "vouch":
                changing.vouch(mirror, user, why[:1000])
            case "lift-quarantine":
                changing.lift_quarantine(mirror, user, why[:1000])
            case "trust-host-key":
                user.require(Role.COORDINATOR)
                fingerprint = request.POST.get("fingerprint", "").strip()
                HostKey.of(mirror).trust(fingerprint, who=user.label)
                done = "The next push goes there."
            case "scan" | "probe" | "audit":
                changing.require_proof(mirror)
                {
                    "scan": tasks.want_scan,
                    "probe": tasks.want_probe,
                    "audit": tasks.want_audit,
                }[action](mirror)
                done = "It is looked at now; this page shows it when that is done."
    messages.success(request, done)
    return redirect("mirrors") if action == "remove" else redirect("mirror", name)


@require_http_methods(["GET", "HEAD", "POST"])
@page()
def register(request: HttpRequest) -> HttpResponse:
    """Let whoever is signed in register a mirror."""
    user = require(request, Role.READER)
    if request.method == "POST":
        form = MirrorForm(request.POST, request.FILES, user=user)
        if form.is_valid() and form.carried_out(lambda: _register(form, user)):
            return redirect("mirror", form.cleaned_data["name"])
        return _form(request, form, None, 422)
    return _form(request, MirrorForm(user=user), None)


def _register(form: MirrorForm, user: User) -> None:
    with transaction.atomic():
        fields = form.cleaned_data
        made = changing.register(fields["name"], fields["tree"], form.values(), user)
        if fields["logo"]:
            changing.show_logo(made, _upload(fields["logo"]), user)


@require_http_methods(["GET", "HEAD", "POST"])
@page()
def edit(request: HttpRequest, name: str) -> HttpResponse:
    """Let those who run a mirror change what is registered of it."""
    user = require(request, Role.READER)
    with transaction.atomic():
        found = changing.locked(name, user)
    if request.method == "POST":
        form = MirrorForm(request.POST, request.FILES, user=user, mirror=found)
        version = request.POST.get("version", "")
        if form.is_valid() and form.carried_out(lambda: _edit(form, name, version, user)):
            messages.success(request, "Changed: the mirror map follows in a moment.")
            return redirect("mirror", name)
        return _form(request, form, found, 422)
    return _form(request, MirrorForm(user=user, mirror=found), found)


def _edit(form: MirrorForm, name: str, version: str, user: User) -> None:
    with transaction.atomic():
        mirror = changing.locked(name, user)
        if version != entity_tag(mirror):
            raise RefusedError(
                Reason("changed-meanwhile", "somebody changed it meanwhile", "look at it again")
            )
        changing.edit(mirror, form.values(), user)
        if form.cleaned_data["logo"]:
            changing.show_logo(mirror, _upload(form.cleaned_data["logo"]), user)


def _upload(file: Any) -> bytes:
    # One byte more than is allowed says that it is too large.
    return bytes(file.read(1 << 20))


def _form(
    request: HttpRequest, form: MirrorForm, mirror: Mirror | None, status: int = 200
) -> HttpResponse:
    seen = entity_tag(mirror) if mirror else ""
    shown = {"parts": PARTS, "form": form, "mirror": mirror, "seen_version": seen}
    return render(request, "mirrors/register.html", shown, status=status)
