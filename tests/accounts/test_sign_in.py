"""Signing in by link and by password, and what is refused."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from commonfarm.accounts.interface import Role, SignInLink, User
from commonfarm.accounts.models import FailedSignIn

pytestmark = pytest.mark.django_db

PASSWORD = "correct horse battery"


@pytest.fixture
def anna() -> User:
    user = User.add("anna", Role.READER, who="user:root")
    user.set_password(PASSWORD)
    user.save()
    return user


def attempt(client: Client, password: str, username: str = "anna") -> int:
    return client.post("/sign-in/", {"username": username, "password": password}).status_code


def test_a_page_sends_to_sign_in_and_back(client: Client, anna: User) -> None:
    answer = client.get("/", {"x": "1"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/sign-in/?next=/%3Fx%3D1")
    answer = client.post("/sign-in/", {"username": "anna", "password": PASSWORD, "next": "/?x=1"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/?x=1")
    assert client.get("/").status_code == 200


def test_a_scanner_that_fetches_a_link_does_not_use_it_up(client: Client, anna: User) -> None:
    token = SignInLink.make(anna, timezone.now(), who="user:root").reveal()
    for _ in range(3):
        page = client.get("/sign-in/", {"token": token})
        assert page.status_code == 200
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert "no-store" in page.headers["Cache-Control"]
    assert client.get("/").status_code == 302
    assert client.post("/sign-in/", {"token": token}).status_code == 302
    assert client.get("/").status_code == 200


def test_a_link_signs_in_once(anna: User) -> None:
    token = SignInLink.make(anna, timezone.now(), who="user:root").reveal()
    assert Client().post("/sign-in/", {"token": token}).status_code == 302
    second = Client()
    answer = second.post("/sign-in/", {"token": token})
    assert answer.status_code == 403
    assert b"used before" in answer.content
    assert second.get("/").status_code == 302


def test_an_old_link_does_not_sign_in(client: Client, anna: User) -> None:
    before = timezone.now() - SignInLink.LIFETIME - timedelta(seconds=1)
    token = SignInLink.make(anna, before, who="user:root").reveal()
    assert client.post("/sign-in/", {"token": token}).status_code == 403


def test_nobody_is_sent_to_another_site(client: Client, anna: User) -> None:
    for next_ in ("https://evil.example/", "//evil.example/", "javascript:alert(1)"):
        answer = client.post("/sign-in/", {"username": "anna", "password": PASSWORD, "next": next_})
        assert answer.headers["Location"] == "/"


def test_guessing_is_slowed_down_for_an_account(client: Client, anna: User) -> None:
    for _ in range(FailedSignIn.MOST_PER_USER):
        assert attempt(client, "wrong") == 403
    answer = client.post("/sign-in/", {"username": "anna", "password": PASSWORD})
    assert answer.status_code == 429
    assert 0 < int(answer.headers["Retry-After"]) <= FailedSignIn.WINDOW.total_seconds() + 1
    FailedSignIn.objects.update(at=timezone.now() - FailedSignIn.WINDOW)
    assert attempt(client, PASSWORD) == 302


def test_guessing_is_slowed_down_for_an_address(client: Client, anna: User) -> None:
    for number in range(FailedSignIn.MOST_PER_ADDRESS - 1):
        FailedSignIn.note(f"user{number}", "127.0.0.1", timezone.now())
    assert attempt(client, "wrong", username="another") == 403
    assert attempt(client, PASSWORD) == 429
    elsewhere = Client(REMOTE_ADDR="192.0.2.7")
    assert attempt(elsewhere, PASSWORD) == 302


def test_a_link_still_works_while_passwords_have_to_wait(client: Client, anna: User) -> None:
    for _ in range(FailedSignIn.MOST_PER_USER):
        FailedSignIn.note("anna", "127.0.0.1", timezone.now())
    assert attempt(client, PASSWORD) == 429
    token = SignInLink.make(anna, timezone.now(), who="user:root").reveal()
    assert client.post("/sign-in/", {"token": token}).status_code == 302


def test_old_failures_are_not_kept(client: Client, anna: User) -> None:
    FailedSignIn.note("bob", "192.0.2.1", timezone.now() - FailedSignIn.WINDOW)
    attempt(client, "wrong")
    assert [row.username for row in FailedSignIn.objects.all()] == ["anna"]


def test_hostile_names_are_refused_not_broken(client: Client, anna: User) -> None:
    for name in ("a\0b", "x" * 10_000, "<script>alert(1)</script>", "' OR 1=1 --"):
        answer = client.post("/sign-in/", {"username": name, "password": "\0"})
        assert answer.status_code == 403
        assert b"<script>alert" not in answer.content


def test_someone_without_an_active_account_stays_out(client: Client, anna: User) -> None:
    token = SignInLink.make(anna, timezone.now(), who="user:root").reveal()
    client.force_login(anna)
    User.objects.update(is_active=False)
    assert client.get("/").status_code == 302
    assert attempt(client, PASSWORD) == 403
    assert client.post("/sign-in/", {"token": token}).status_code == 403


def test_signing_out_ends_the_session_and_needs_a_post(client: Client, anna: User) -> None:
    client.force_login(anna)
    assert client.get("/sign-out/").status_code == 405
    assert client.get("/").status_code == 200
    assert client.post("/sign-out/").status_code == 302
    assert client.get("/").status_code == 302


def test_a_form_without_its_secret_is_refused_with_a_page(anna: User) -> None:
    answer = Client(enforce_csrf_checks=True).post(
        "/sign-in/", {"username": "anna", "password": PASSWORD}
    )
    assert answer.status_code == 403
    assert b"cookies" in answer.content
