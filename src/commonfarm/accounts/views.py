"""Signing in, by a one-time link or by password, and out."""

from __future__ import annotations

from django.contrib.auth import authenticate, login, logout
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render, resolve_url
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from commonfarm.accounts.models import FailedSignIn, SignInLink, User

BACKEND = "django.contrib.auth.backends.ModelBackend"


@sensitive_post_parameters()
@never_cache
@require_http_methods(["GET", "POST"])
def sign_in(request: HttpRequest) -> HttpResponse:
    """Show a form, or a button for a link's token; sign in on POST.

    A GET never uses a link up, since mail scanners fetch what they find in a mail.
    """
    if request.method == "GET":
        shown = {"token": request.GET.get("token", ""), "next": request.GET.get("next", "")}
        response = render(request, "accounts/sign_in.html", shown)
        response.headers["Referrer-Policy"] = "no-referrer"
        return response
    if request.POST.get("token"):
        return _by_link(request)
    return _by_password(request)


@require_POST
def sign_out(request: HttpRequest) -> HttpResponse:
    """End the session."""
    logout(request)
    return redirect("sign-in")


def _by_link(request: HttpRequest) -> HttpResponse:
    user = SignInLink.redeem(request.POST["token"], timezone.now())
    if user is None:
        return _refused(request, "This link was used before, or is too old. Ask for a new one.")
    return _welcome(request, user)


def _by_password(request: HttpRequest) -> HttpResponse:
    username, now = request.POST.get("username", "").replace("\0", "")[:150], timezone.now()
    address = request.META.get("REMOTE_ADDR", "")
    wait = FailedSignIn.wait(username, address, now)
    if wait:
        response = _refused(
            request, f"Too many attempts. Wait {wait // 60 + 1} min, or use a link.", 429
        )
        response.headers["Retry-After"] = str(wait)
        return response
    user = authenticate(
        request, username=username, password=request.POST.get("password", "").replace("\0", "")
    )
    if not isinstance(user, User):
        FailedSignIn.note(username, address, now)
        return _refused(request, "User name and password do not belong together.")
    FailedSignIn.forget(username, address)
    return _welcome(request, user)


def _welcome(request: HttpRequest, user: User) -> HttpResponse:
    login(request, user, backend=BACKEND)
    wanted = request.POST.get("next", "")
    ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, request.is_secure())
    return redirect(wanted if ours else resolve_url("overview"))


def _refused(request: HttpRequest, error: str, status: int = 403) -> HttpResponse:
    shown = {
        "error": error,
        "next": request.POST.get("next", ""),
        "username": request.POST.get("username", ""),
    }
    return render(request, "accounts/sign_in.html", shown, status=status)
