"""The accounts by HTTP: who am I, users, sign-in links, tokens."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from ninja import Field, Router, Schema, Status

from commonfarm.accounts.models import ApiToken, Role, SignInLink, User

router = Router(tags=["accounts"])


class UserOut(Schema):
    """A user."""

    username: str
    role: Role
    active: bool
    last_sign_in_at: str | None = None


class UserIn(Schema):
    """A user to be made."""

    username: str = Field(..., max_length=32)
    role: Role = Role.READER


class TokenIn(Schema):
    """An API token to be made; the name says what it is for."""

    name: str = Field(..., min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")


class TokenOut(Schema):
    """A new API token. It cannot be read again."""

    token: str


class LinkOut(Schema):
    """A link that signs in once, within 15 minutes."""

    url: str


def _caller(request: HttpRequest) -> User:
    assert isinstance(request.user, User)  # the API lets nobody else in
    return request.user


def _show(user: User) -> dict[str, Any]:
    return {
        "username": user.username,
        "role": user.role,
        "active": user.is_active,
        "last_sign_in_at": user.last_login.isoformat() if user.last_login else None,
    }


@router.get("/me", response=UserOut, summary="Who am I")
def me(request: HttpRequest) -> dict[str, Any]:
    """Give the caller's own account."""
    return _show(_caller(request))


@router.get("/users", response=list[UserOut], summary="List users")
def users(request: HttpRequest) -> list[dict[str, Any]]:
    """Give all users, by name. For admins."""
    _caller(request).require(Role.ADMIN)
    return [_show(user) for user in User.objects.order_by("username")]


@router.post("/users", response={HTTPStatus.CREATED: UserOut}, summary="Add a user")
def add_user(request: HttpRequest, wanted: UserIn) -> Status[dict[str, Any]]:
    """Make a user without a password. For admins."""
    caller = _caller(request)
    caller.require(Role.ADMIN)
    user = User.add(wanted.username, wanted.role, who=caller.label)
    return Status(HTTPStatus.CREATED, _show(user))


@router.post(
    "/users/{username}/sign-in-link",
    response={HTTPStatus.CREATED: LinkOut},
    summary="Make a sign-in link",
)
def make_link(
    request: HttpRequest, response: HttpResponse, username: str
) -> Status[dict[str, Any]]:
    """Make a link that signs the user in once. For admins."""
    caller = _caller(request)
    caller.require(Role.ADMIN)
    token = SignInLink.make(User.named(username), timezone.now(), who=caller.label)
    response.headers["Cache-Control"] = "no-store"
    hub = settings.COMMONFARM.public_url("hub")
    url = f"{hub}{reverse('sign-in')}?token={token.reveal()}"
    return Status(HTTPStatus.CREATED, {"url": url})


@router.post("/tokens", response={HTTPStatus.CREATED: TokenOut}, summary="Make an API token")
def make_token(
    request: HttpRequest, response: HttpResponse, wanted: TokenIn
) -> Status[dict[str, Any]]:
    """Make a token with which a program acts as the caller."""
    caller = _caller(request)
    token = ApiToken.make(caller, wanted.name, who=caller.label)
    response.headers["Cache-Control"] = "no-store"
    return Status(HTTPStatus.CREATED, {"token": token.reveal()})
