"""The page of one's own account."""

from __future__ import annotations

import pytest
from django.test import Client

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.accounts.models import FailedSignIn
from commonfarm.journal.models import Entry

pytestmark = pytest.mark.django_db

FIRST, SECOND = "correct horse battery", "a staple that stands"


@pytest.fixture
def anna(client: Client) -> User:
    user = User.add("anna", Role.READER, who="user:root")
    client.force_login(user)
    return user


def choose(client: Client, new: str, old: str | None = None, again: str | None = None) -> int:
    form = {"new_password1": new, "new_password2": new if again is None else again}
    return client.post(
        "/account/", form if old is None else {**form, "old_password": old}
    ).status_code


def signs_in(password: str) -> bool:
    form = {"username": "anna", "password": password}
    return Client().post("/sign-in/", form).status_code == 302


def test_who_is_not_signed_in_is_sent_to_sign_in() -> None:
    for path in ("/account/", "/account/tokens/", "/account/tokens/1/revoke"):
        answer = Client().post(path)
        assert (answer.status_code, answer.headers["Location"][:14]) == (302, "/sign-in/?next")


def test_a_first_password_is_set_without_an_old_one(client: Client, anna: User) -> None:
    page = client.get("/account/")
    assert b"Set a password" in page.content and b"old_password" not in page.content
    assert "no-store" in page.headers["Cache-Control"]
    assert choose(client, FIRST) == 302
    assert signs_in(FIRST)
    assert client.get("/account/").status_code == 200, "this session ended too"
    (entry,) = Entry.objects.filter(what="password changed")
    assert (entry.who, entry.subject) == ("user:anna", "user:anna")
    assert FIRST not in str(list(Entry.objects.values()))


def test_a_change_asks_for_the_current_password_and_ends_other_sessions(
    client: Client, anna: User
) -> None:
    choose(client, FIRST)
    anna.refresh_from_db()
    other = Client()
    other.force_login(anna)
    assert b"old_password" in client.get("/account/").content
    assert choose(client, SECOND) == 422
    assert choose(client, SECOND, "wrong") == 422
    assert signs_in(FIRST) and other.get("/account/").status_code == 200
    assert choose(client, SECOND, FIRST) == 302
    assert signs_in(SECOND) and not signs_in(FIRST)
    assert client.get("/account/").status_code == 200
    assert other.get("/account/").status_code == 302


@pytest.mark.parametrize(
    ("new", "again", "complaint"),
    [
        ("short", "short", "at least 12 characters"),
        ("q1w2e3r4t5y6", "q1w2e3r4t5y6", "too common"),
        (FIRST, SECOND, "match"),
        ("nul\0nul\0nul\0nul", "nul\0nul\0nul\0nul", "Null characters"),
        ("", "", "required"),
    ],
)
def test_a_bad_password_is_refused_with_the_reason(
    client: Client, anna: User, new: str, again: str, complaint: str
) -> None:
    answer = client.post("/account/", {"new_password1": new, "new_password2": again})
    assert answer.status_code == 422
    assert complaint in answer.content.decode()
    anna.refresh_from_db()
    assert not anna.has_usable_password()


def test_the_current_password_is_not_guessed_here(client: Client, anna: User) -> None:
    choose(client, FIRST)
    for _ in range(FailedSignIn.MOST_PER_USER):
        assert choose(client, SECOND, "wrong") == 422
    assert choose(client, SECOND, FIRST) == 429
    assert not signs_in(SECOND)


def test_a_token_is_made_shown_once_and_revoked(client: Client, anna: User) -> None:
    made = client.post("/account/tokens/", {"name": "<b>laptop</b>"})
    assert "no-store" in made.headers["Cache-Control"]
    text = made.content.decode()
    token = "cf_api" + text.partition("<code>cf_api")[2].partition("<")[0]
    assert ApiToken.bearer(token) == anna
    again = client.get("/account/").content.decode()
    assert token not in again
    assert "&lt;b&gt;laptop" in again and "<b>laptop" not in again
    number = ApiToken.objects.get().pk
    assert client.get(f"/account/tokens/{number}/revoke").status_code == 405
    assert client.post(f"/account/tokens/{number}/revoke").status_code == 302
    assert ApiToken.bearer(token) is None
    assert client.post("/account/tokens/", {"name": ""}).status_code == 422


def test_tokens_of_others_are_neither_seen_nor_revoked(client: Client, anna: User) -> None:
    berta = User.add("berta", Role.ADMIN, who="user:root")
    hers = ApiToken.make(berta, "secret project", who="user:root").reveal()
    assert b"secret project" not in client.get("/account/").content
    number = ApiToken.objects.get().pk
    for one in (number, 10**30):
        assert client.post(f"/account/tokens/{one}/revoke").status_code == 404
    assert ApiToken.bearer(hers) == berta


def test_every_page_leads_to_the_account(client: Client, anna: User) -> None:
    for path in ("/", "/builds/", "/journal/"):
        assert b'href="/account/"' in client.get(path).content
