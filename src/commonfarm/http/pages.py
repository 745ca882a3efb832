"""What every context's pages share: who may see them, and how they refuse."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.utils.http import url_has_allowed_host_and_scheme

from commonfarm.accounts.interface import Role, User
from commonfarm.http.permissions import require
from commonfarm.http.problems import status_of
from commonfarm.lib.errors import CommonfarmError, Reason

View = Callable[..., HttpResponseBase]


def page(role: Role | None = Role.READER) -> Callable[[View], View]:
    """Let a view be seen by those whose role covers `role`; the others sign in, or see a 403.

    None: everyone sees it, signed in or not. An error of `lib.errors` that the view raises becomes
    a page that gives its reason. With a role the view's `request.user` is a User.
    """

    def decorate(view: View) -> View:
        @wraps(view)
        def shown(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            if role is not None and not isinstance(request.user, User):
                return redirect_to_login(request.get_full_path())
            try:
                if role is not None:
                    require(request, role)
                return view(request, *args, **kwargs)
            except CommonfarmError as error:
                return refusal(request, status_of(error), error.reason, str(error))

        return shown

    return decorate


def refusal(
    request: HttpRequest, status: HTTPStatus, reason: Reason, text: str = ""
) -> HttpResponse:
    """Return the page that says why a request is refused; `text` may list more than the reason."""
    shown = {"status": int(status), "phrase": status.phrase, "reason": reason, "text": text}
    return render(request, "web/refused.html", shown | {"back": _form(request)}, status=status)


def _form(request: HttpRequest) -> str:
    """Return the page with the form that was sent, empty where none was or it is not ours."""
    told = request.headers.get("Referer", "")
    ours = url_has_allowed_host_and_scheme(told, {request.get_host()})
    return told if request.method == "POST" and ours else ""
