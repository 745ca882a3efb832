"""Users, their roles, API tokens and sign-in links."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import AbstractUser
from django.contrib.sessions.models import Session
from django.db import models, transaction

from commonfarm.accounts.events import (
    PasswordChanged,
    RoleChanged,
    SignInLinkMade,
    TokenMade,
    TokenRevoked,
    UserActivated,
    UserAdded,
    UserDeactivated,
)
from commonfarm.journal.interface import record
from commonfarm.lib.errors import (
    BadInputError,
    ForbiddenError,
    NotFoundError,
    Problem,
    Reason,
    RefusedError,
)
from commonfarm.lib.ids import hash_token, new_token
from commonfarm.lib.secret import Secret

_NAME = re.compile(r"[a-z][a-z0-9.-]{0,31}")


class Role(models.TextChoices):
    """What a person may do; each role may do all that those before it may."""

    READER = "reader"
    SUBMITTER = "submitter"
    COORDINATOR = "coordinator"
    ADMIN = "admin"

    def allows(self, needed: Role) -> bool:
        """Say whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class User(AbstractUser):
    """A person or a program with an account."""

    role = models.CharField(max_length=20, choices=Role.choices, default=Role.READER)

    @property
    def label(self) -> str:
        """How the journal names this user."""
        return f"user:{self.username}"

    def may(self, needed: Role) -> bool:
        """Say whether the user's role covers `needed`."""
        return self.is_active and Role(self.role).allows(needed)

    def require(self, needed: Role) -> None:
        """Raise ForbiddenError unless the user's role covers `needed`."""
        if not self.may(needed):
            raise ForbiddenError(
                Reason(
                    "role-too-low",
                    f"{self.username} has the role {self.role}, and this needs {needed}",
                    "ask an admin for the role",
                )
            )

    @classmethod
    def named(cls, username: str) -> User:
        """Return the user of this name; raise NotFoundError when there is none."""
        found = cls.objects.filter(username=username).first() if "\0" not in username else None
        if found is None:
            raise NotFoundError(
                Reason(
                    "no-such-user",
                    f"there is no user {username[:80]!r}",
                    "`commonfarm user list` names them",
                )
            )
        return found

    @classmethod
    def add(cls, username: str, role: Role, *, who: str, **fields: Any) -> User:
        """Create a user without password (sign in by link, or set one) and record it.

        Raises BadInputError for a name that is not allowed, RefusedError for one that is taken.
        """
        if _NAME.fullmatch(username) is None:
            raise BadInputError(
                Problem(
                    "username",
                    0,
                    0,
                    f"the name {username[:80]!r} is not allowed",
                    "use 1 to 32 small letters, digits, dots, hyphens, beginning with a letter",
                )
            )
        with transaction.atomic():
            if cls.objects.filter(username=username).exists():
                raise RefusedError(
                    Reason(
                        "name-taken",
                        f"there is a user {username} already",
                        f"`commonfarm user sign-in-link {username}` lets them in",
                    )
                )
            user = cls.objects.create(username=username, role=role, **fields)
            user.set_unusable_password()
            user.save(update_fields=["password"])
            record(UserAdded(f"user:{username}", role=str(role)), who=who)
        return user

    def change_role(self, role: Role, *, who: str) -> None:
        """Give the user another role; RefusedError when nobody would be an admin any more."""
        with transaction.atomic():
            self._lock()
            if self.role == role:
                return
            if role != Role.ADMIN:
                self._leave_an_admin()
            before, self.role = self.role, role
            self.save(update_fields=["role"])
            record(RoleChanged(self.label, before=str(before), role=str(role)), who=who)

    def deactivate(self, *, who: str, now: datetime) -> None:
        """Close the account: its sessions, API tokens and sign-in links end at once, for good.

        RefusedError when nobody would be an admin any more.
        """
        with transaction.atomic():
            self._lock()
            if not self.is_active:
                return
            self._leave_an_admin()
            self.is_active = False
            self.save(update_fields=["is_active"])
            self.api_tokens.filter(revoked_at=None).update(revoked_at=now)
            SignInLink.objects.filter(user=self, used_at=None).update(used_at=now)
            for session in Session.objects.filter(expire_date__gt=now).iterator():
                if session.get_decoded().get(SESSION_KEY) == str(self.pk):
                    session.delete()
            record(UserDeactivated(self.label), who=who)

    def activate(self, *, who: str) -> None:
        """Open the account again. The password is as it was; tokens and sessions do not return."""
        with transaction.atomic():
            self._lock()
            if self.is_active:
                return
            self.is_active = True
            self.save(update_fields=["is_active"])
            record(UserActivated(self.label), who=who)

    def choose_password(self, password: str) -> None:
        """Set the password (checked by the form before). All sessions of the user end."""
        with transaction.atomic():
            self.set_password(password)
            self.save(update_fields=["password"])
            record(PasswordChanged(self.label), who=self.label)

    def _lock(self) -> None:
        """Read this user anew, with the admins: two who leave at once are seen one by one."""
        locked = User.objects.select_for_update().order_by("pk")
        list(locked.filter(models.Q(pk=self.pk) | models.Q(role=Role.ADMIN)))
        self.refresh_from_db()

    def _leave_an_admin(self) -> None:
        """Refuse what would leave nobody to manage the accounts; call it after `_lock`."""
        others = User.objects.filter(role=Role.ADMIN, is_active=True).exclude(pk=self.pk)
        if self.may(Role.ADMIN) and not others.exists():
            raise RefusedError(
                Reason(
                    "last-admin",
                    f"{self.username} is the only admin, and nobody could manage users any more",
                    "make another user admin first: `commonfarm user role NAME admin`",
                )
            )


class ApiToken(models.Model):
    """A bearer token of a user, kept as a hash."""

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.user.username}: {self.name}"

    @classmethod
    def make(cls, user: User, name: str, *, who: str) -> Secret:
        """Create a token and return it; only this once can it be read."""
        token = new_token("cf_api")
        with transaction.atomic():
            cls.objects.create(user=user, name=name, digest=hash_token(token))
            record(TokenMade(user.label, name=name), who=who)
        return Secret(token)

    @classmethod
    def numbered(cls, number: int, *, seen_by: User) -> ApiToken:
        """Return a token of `seen_by`, or for an admin anybody's; NotFoundError for others."""
        found = cls.objects.select_related("user").filter(pk=number).first()
        if found is None or not (found.user == seen_by or seen_by.may(Role.ADMIN)):
            raise NotFoundError(
                Reason(
                    "no-such-token",
                    f"there is no API token {number} of {seen_by.username}",
                    "`commonfarm token list` numbers them",
                )
            )
        return found

    def revoke(self, *, who: str, now: datetime) -> None:
        """End the token at once."""
        with transaction.atomic():
            open_yet = ApiToken.objects.filter(pk=self.pk, revoked_at=None)
            if open_yet.update(revoked_at=now):
                record(TokenRevoked(self.user.label, name=self.name), who=who)

    @classmethod
    def bearer(cls, token: str) -> User | None:
        """Return the active user who bears `token`, or None."""
        found = (
            cls.objects.select_related("user")
            .filter(digest=hash_token(token), revoked_at=None, user__is_active=True)
            .first()
        )
        return found.user if found else None


class SignInLink(models.Model):
    """A link that signs a user in once."""

    LIFETIME = timedelta(minutes=15)

    user = models.ForeignKey(User, on_delete=models.CASCADE)
    digest = models.CharField(max_length=64, unique=True)
    expires_at = models.DateTimeField()
    used_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"for {self.user.username} until {self.expires_at}"

    @classmethod
    def make(cls, user: User, now: datetime, *, who: str) -> Secret:
        """Create a link's token, good once and for LIFETIME, and return it."""
        token = new_token("cf_link")
        with transaction.atomic():
            cls.objects.create(user=user, digest=hash_token(token), expires_at=now + cls.LIFETIME)
            record(SignInLinkMade(user.label), who=who)
        return Secret(token)

    @classmethod
    def redeem(cls, token: str, now: datetime) -> User | None:
        """Use the link up and return its user, or None when it is unknown, used or too old."""
        used = cls.objects.filter(
            digest=hash_token(token), used_at=None, expires_at__gt=now, user__is_active=True
        ).update(used_at=now)
        if not used:
            return None
        return cls.objects.select_related("user").get(digest=hash_token(token)).user


class FailedSignIn(models.Model):
    """A password that was wrong. Too many of them, and the next attempt has to wait.

    Counted per user name and per address, so that neither one account nor many are guessed at
    from one place. One-time links are not held up by this.
    """

    WINDOW = timedelta(minutes=15)
    MOST_PER_USER = 10
    MOST_PER_ADDRESS = 30

    username = models.CharField(max_length=150)
    address = models.CharField(max_length=45)
    at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(fields=["username", "at"], name="failed_by_user"),
            models.Index(fields=["address", "at"], name="failed_by_address"),
        ]

    def __str__(self) -> str:
        return f"{self.username} from {self.address} at {self.at}"

    @classmethod
    def wait(cls, username: str, address: str, now: datetime) -> int:
        """Return the seconds until a password may be tried again; 0 if it may be now."""
        recent = cls.objects.filter(at__gt=now - cls.WINDOW).order_by("-at")
        ends = [
            row.at + cls.WINDOW
            for most, rows in (
                (cls.MOST_PER_USER, recent.filter(username=username)),
                (cls.MOST_PER_ADDRESS, recent.filter(address=address)),
            )
            if (row := rows[most - 1 : most].first()) is not None
        ]
        return max((int((end - now).total_seconds()) + 1 for end in ends), default=0)

    @classmethod
    def note(cls, username: str, address: str, now: datetime) -> None:
        """Count a wrong password, and drop what no longer counts."""
        cls.objects.filter(at__lte=now - cls.WINDOW).delete()
        cls.objects.create(username=username, address=address, at=now)

    @classmethod
    def forget(cls, username: str, address: str) -> None:
        """Start anew after the right password from this address."""
        cls.objects.filter(username=username, address=address).delete()
