"""Who may call: people by session or by API token, each with a role."""

from __future__ import annotations

from http import HTTPStatus

from django.http import HttpRequest
from ninja.security import HttpBearer, SessionAuth

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.http.problems import ProblemError
from commonfarm.lib.errors import Reason


class TokenAuth(HttpBearer):
    """`Authorization: Bearer` with an API token."""

    def authenticate(self, request: HttpRequest, token: str) -> User | None:
        """Return who bears the token; the request carries the user from here on."""
        user = ApiToken.bearer(token)
        if user is not None:
            request.user = user
        return user


class CookieAuth(SessionAuth):
    """The session of a signed-in page; changes need the CSRF token."""

    def authenticate(self, request: HttpRequest, key: str | None) -> User | None:
        """Return the signed-in user."""
        return request.user if isinstance(request.user, User) else None


AUTHENTICATION = [TokenAuth(), CookieAuth(csrf=True)]


def caller(request: HttpRequest) -> User | None:
    """Return who calls, before anything was checked: by token, else by session."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return ApiToken.bearer(token)
    return request.user if isinstance(request.user, User) else None


def require(request: HttpRequest, role: Role) -> User:
    """Return the caller, or refuse by 401 or 403 when the role does not cover `role`."""
    user = request.user
    if not isinstance(user, User):
        raise ProblemError(
            HTTPStatus.UNAUTHORIZED,
            Reason("not-signed-in", "nobody is signed in", "sign in, or send an API token"),
        )
    user.require(role)
    return user
