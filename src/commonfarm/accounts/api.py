"""The accounts by HTTP: who am I, users, sign-in links, tokens."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from ninja import Field, Path, Router, Schema, Status

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


class RoleIn(Schema):
    """The role a user is given."""

    role: Role


class TokenIn(Schema):
    """An API token to be made: what it is for, and whose it is (the caller's, if not said)."""

    user: str | None = Field(None, max_length=32)
    name: str = Field(..., min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")


class TokenOut(Schema):
    """A new API token. It cannot be read again."""

    token: str


class TokenShown(Schema):
    """An API token as it is listed: never the token itself."""

    id: int
    user: str
    name: str
    created_at: datetime


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


def _whose(caller: User, username: str | None) -> User:
    """Return the user that is named, the caller if none is; others are for admins only."""
    if username is None or username == caller.username:
        return caller
    caller.require(Role.ADMIN)
    return User.named(username)


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


@router.post("/users/{username}/role", response=UserOut, summary="Change a role")
def change_role(request: HttpRequest, username: str, wanted: RoleIn) -> dict[str, Any]:
    """Give a user another role; never take the last admin's. For admins."""
    caller = _caller(request)
    caller.require(Role.ADMIN)
    user = User.named(username)
    user.change_role(wanted.role, who=caller.label)
    return _show(user)


@router.post("/users/{username}/deactivate", response=UserOut, summary="Close an account")
def deactivate(request: HttpRequest, username: str) -> dict[str, Any]:
    """End the user's sessions, tokens and links at once, and let nobody in. For admins."""
    caller = _caller(request)
    caller.require(Role.ADMIN)
    user = User.named(username)
    user.deactivate(who=caller.label, now=timezone.now())
    return _show(user)


@router.post("/users/{username}/activate", response=UserOut, summary="Open an account again")
def activate(request: HttpRequest, username: str) -> dict[str, Any]:
    """Let the user sign in again. For admins."""
    caller = _caller(request)
    caller.require(Role.ADMIN)
    user = User.named(username)
    user.activate(who=caller.label)
    return _show(user)


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
    """Make a token with which a program acts as the caller; for an admin, as any user."""
    caller = _caller(request)
    token = ApiToken.make(_whose(caller, wanted.user), wanted.name, who=caller.label)
    response.headers["Cache-Control"] = "no-store"
    return Status(HTTPStatus.CREATED, {"token": token.reveal()})


@router.get("/tokens", response=list[TokenShown], summary="List API tokens")
def tokens(request: HttpRequest, user: str | None = None) -> list[dict[str, Any]]:
    """Give the caller's tokens that are good; for an admin, those of any user."""
    owner = _whose(_caller(request), user)
    return [
        {"id": one.pk, "user": owner.username, "name": one.name, "created_at": one.created_at}
        for one in owner.api_tokens.filter(revoked_at=None).order_by("pk")
    ]


@router.delete(
    "/tokens/{number}", response={HTTPStatus.NO_CONTENT: None}, summary="Revoke an API token"
)
def revoke_token(
    request: HttpRequest, number: Annotated[int, Path(ge=1, le=2**63 - 1)]
) -> Status[None]:
    """End a token of the caller at once; for an admin, of any user."""
    caller = _caller(request)
    ApiToken.numbered(number, seen_by=caller).revoke(who=caller.label, now=timezone.now())
    return Status(HTTPStatus.NO_CONTENT, None)
