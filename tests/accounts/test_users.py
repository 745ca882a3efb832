"""Roles, closing and opening accounts, tokens: what ends, what stays, and who may."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.db import connections
from django.test import Client
from django.utils import timezone

from commonfarm.accounts.interface import ApiToken, Role, SignInLink, User
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import NotFoundError, RefusedError

API = "/api/v1/accounts"


def user(name: str, role: Role = Role.READER) -> User:
    return User.add(name, role, who="user:root")


def bearer(of: User) -> dict[str, str]:
    token = ApiToken.make(of, "test", who="user:root").reveal()
    return {"Authorization": f"Bearer {token}"}


def whats(of: User) -> list[str]:
    return [one.what for one in Entry.objects.filter(subject=of.label).order_by("id")]


@pytest.mark.django_db
def test_a_role_changes_what_the_next_request_may(client: Client) -> None:
    chief, anna = user("chief", Role.ADMIN), user("anna")
    admin, hers = bearer(chief), bearer(anna)
    assert client.get(f"{API}/users", headers=hers).status_code == 403
    for _ in range(2):
        answer = client.post(
            f"{API}/users/anna/role", {"role": "admin"}, "application/json", headers=admin
        )
        assert (answer.status_code, answer.json()["role"]) == (200, "admin")
    assert client.get(f"{API}/users", headers=hers).status_code == 200
    changes = Entry.objects.filter(what="role changed")
    assert [(one.who, one.details) for one in changes] == [
        ("user:chief", {"before": "reader", "role": "admin"})
    ]


@pytest.mark.django_db
def test_a_closed_account_is_out_at_once_and_for_good(client: Client) -> None:
    user("chief", Role.ADMIN)
    anna, other = user("anna", Role.SUBMITTER), user("berta")
    hers, now = bearer(anna), timezone.now()
    link = SignInLink.make(anna, now, who="user:root").reveal()
    elsewhere = Client()
    client.force_login(anna)
    elsewhere.force_login(other)
    anna.deactivate(who="user:chief", now=now)
    anna.deactivate(who="user:chief", now=now)

    def is_out() -> bool:
        return (
            client.get("/").status_code == 302
            and Client().get(f"{API}/me", headers=hers).status_code == 401
            and SignInLink.redeem(link, now + timedelta(seconds=1)) is None
        )

    assert is_out()
    assert elsewhere.get("/").status_code == 200
    anna.activate(who="user:chief")
    anna.activate(who="user:chief")
    assert is_out(), "what was ended came back with the account"
    client.force_login(anna)
    assert client.get("/").status_code == 200
    assert whats(anna)[-2:] == ["user deactivated", "user activated"]
    assert User.objects.get(pk=anna.pk).role == Role.SUBMITTER


@pytest.mark.django_db
def test_the_last_admin_stays(client: Client) -> None:
    chief = user("chief", Role.ADMIN)
    closed = user("closed", Role.ADMIN)
    closed.deactivate(who="user:chief", now=timezone.now())
    admin = bearer(chief)
    for path, body in (("role", {"role": "reader"}), ("deactivate", None)):
        answer = client.post(
            f"{API}/users/chief/{path}", body or {}, "application/json", headers=admin
        )
        assert answer.status_code == 409, path
        assert "is the only admin" in answer.json()["detail"]
        assert "user role NAME admin" in answer.json()["lifted_by"]
    assert User.objects.get(username="chief").may(Role.ADMIN)
    closed.activate(who="user:chief")
    chief.change_role(Role.READER, who="user:closed")
    assert not User.objects.get(username="chief").may(Role.ADMIN)


@pytest.mark.django_db(transaction=True)
def test_of_two_admins_who_leave_at_once_one_stays() -> None:
    for _ in range(5):
        User.objects.all().delete()
        admins = [user("one", Role.ADMIN), user("two", Role.ADMIN)]
        gate = threading.Barrier(2)
        refused: list[str] = []

        def leave(who: User, gate: threading.Barrier, refused: list[str]) -> None:
            gate.wait()
            try:
                who.deactivate(who=who.label, now=timezone.now())
            except RefusedError as error:
                refused.append(error.reason.code)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=leave, args=(who, gate, refused)) for who in admins]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert refused == ["last-admin"]
        assert User.objects.filter(is_active=True).count() == 1


@pytest.mark.django_db
def test_only_an_admin_changes_accounts(client: Client) -> None:
    coordinator, anna = user("cora", Role.COORDINATOR), user("anna")
    hers = bearer(coordinator)
    for path in ("role", "deactivate", "activate"):
        answer = client.post(
            f"{API}/users/anna/{path}", {"role": "admin"}, "application/json", headers=hers
        )
        assert answer.status_code == 403, path
    token = ApiToken.make(anna, "hers", who="user:root")
    made = {"name": "x", "user": "anna"}
    assert client.post(f"{API}/tokens", made, "application/json", headers=hers).status_code == 403
    assert client.get(f"{API}/tokens?user=anna", headers=hers).status_code == 403
    number = ApiToken.objects.get(user=anna).pk
    assert client.delete(f"{API}/tokens/{number}", headers=hers).status_code == 404
    assert ApiToken.bearer(token.reveal()) == anna


@pytest.mark.django_db
def test_tokens_are_listed_without_their_secret_and_revoked(client: Client) -> None:
    chief, anna = user("chief", Role.ADMIN), user("anna")
    hers = bearer(anna)
    made = client.post(f"{API}/tokens", {"name": "laptop"}, "application/json", headers=hers)
    secret = made.json()["token"]
    listed = client.get(f"{API}/tokens", headers=hers)
    assert [one["name"] for one in listed.json()] == ["test", "laptop"]
    assert "cf_api" not in listed.content.decode()
    laptop = listed.json()[1]["id"]
    for _ in range(2):
        assert client.delete(f"{API}/tokens/{laptop}", headers=hers).status_code == 204
    assert ApiToken.bearer(secret) is None
    assert [one["name"] for one in client.get(f"{API}/tokens", headers=hers).json()] == ["test"]
    assert whats(anna).count("token revoked") == 1

    admin = bearer(chief)
    theirs = client.get(f"{API}/tokens?user=anna", headers=admin).json()
    assert client.delete(f"{API}/tokens/{theirs[0]['id']}", headers=admin).status_code == 204
    assert client.get(f"{API}/me", headers=hers).status_code == 401
    with pytest.raises(NotFoundError, match="token list"):
        ApiToken.numbered(2**62, seen_by=chief)
