"""The page of one's own account: the password, and the API tokens."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.contrib.auth.forms import PasswordChangeForm, SetPasswordForm
from django.forms import CharField, Form
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from commonfarm.accounts.models import ApiToken, FailedSignIn, User
from commonfarm.lib.errors import NotFoundError


class TokenForm(Form):
    """What a new token is for."""

    name = CharField(label="What for", max_length=100)


@sensitive_post_parameters()
@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def account(request: HttpRequest) -> HttpResponse:
    """Show the account; POST sets or changes the password."""
    user = _user(request)
    if request.method != "POST":
        return _show(request, user)
    form = _password_form(user, request.POST)
    address, now = request.META.get("REMOTE_ADDR", ""), timezone.now()
    if user.has_usable_password():
        # The current password is asked of a session that may be a stranger's: no place to guess.
        wait = FailedSignIn.wait(user.username, address, now)
        if wait:
            form.add_error(None, f"Too many attempts. Wait {wait // 60 + 1} min.")
            return _show(request, user, form=form, status=429)
    if not form.is_valid():
        if "old_password" in form.errors:
            FailedSignIn.note(user.username, address, now)
        return _show(request, user, form=form, status=422)
    user.choose_password(form.cleaned_data["new_password1"])
    update_session_auth_hash(request, user)
    messages.success(request, "Your password is set. Your other sessions have ended.")
    return redirect("account")


@never_cache
@login_required
@require_POST
def make_token(request: HttpRequest) -> HttpResponse:
    """Make a token and show it, this once."""
    user, form = _user(request), TokenForm(request.POST)
    if not form.is_valid():
        return _show(request, user, token_form=form, status=422)
    made = ApiToken.make(user, form.cleaned_data["name"], who=user.label)
    return _show(request, user, made=made.reveal())


@login_required
@require_POST
def revoke_token(request: HttpRequest, number: int) -> HttpResponse:
    """End one of one's own tokens."""
    user = _user(request)
    try:
        token = ApiToken.numbered(number, seen_by=user)
    except NotFoundError as error:
        raise Http404(str(error)) from None
    token.revoke(who=user.label, now=timezone.now())
    messages.success(request, f"The token “{token.name}” has ended.")
    return redirect("account")


def _user(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # login_required lets nobody else in
    return request.user


def _password_form(user: User, data: Any = None) -> SetPasswordForm[User]:
    """Return the form that fits: the current password is asked where there is one."""
    kind = PasswordChangeForm if user.has_usable_password() else SetPasswordForm
    form: SetPasswordForm[User] = kind(user, data)
    for field in form.fields.values():
        field.widget.attrs.pop("autofocus", None)
    return form


def _show(
    request: HttpRequest,
    user: User,
    *,
    form: SetPasswordForm[User] | None = None,
    token_form: TokenForm | None = None,
    made: str = "",
    status: int = 200,
) -> HttpResponse:
    shown = {
        "form": form or _password_form(user),
        "token_form": token_form or TokenForm(),
        "tokens": user.api_tokens.filter(revoked_at=None).order_by("-pk"),
        "made": made,
    }
    return render(request, "accounts/account.html", shown, status=status)
