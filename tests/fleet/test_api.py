"""The fleet's API and pages: who may, what is refused, and that a cordon is seen everywhere."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.estate.interface import Pool
from commonfarm.fleet.interface import Builder, EnrolmentToken, bearer, enrol
from commonfarm.journal.models import Entry
from tests.fleet.conftest import enrolled, request

pytestmark = pytest.mark.django_db


class Caller:
    """Calls the API as a user of some role."""

    def __init__(self, role: Role) -> None:
        self.user = User.add(f"a-{role}", role, who="test")
        token = ApiToken.make(self.user, "test", who="test").reveal()
        self.client = Client(headers={"Authorization": f"Bearer {token}"})

    def __call__(self, method: str, path: str, body: Any = None) -> Any:
        return self.client.generic(
            method,
            f"/api/v1/fleet{path}",
            data="" if body is None else json.dumps(body),
            content_type="application/json",
        )


@pytest.fixture
def anna(db: None) -> Caller:
    return Caller(Role.COORDINATOR)


@pytest.fixture
def ben(db: None) -> Caller:
    return Caller(Role.READER)


@pytest.fixture
def builder(pool: Pool) -> Builder:
    return enrolled(pool, now=timezone.now())[0]


def test_builders_are_listed_and_shown_without_their_credentials(
    ben: Caller, builder: Builder
) -> None:
    shown = ben("GET", "/builders/b1").json()
    assert (shown["name"], shown["pool"], shown["state"], shown["generation"]) == (
        "b1",
        "local",
        "ready",
        1,
    )
    assert shown["claims"]["cores"] == 4
    assert ben("GET", "/builders").json() == {"items": [shown], "next": None}
    assert builder.credential_digest not in json.dumps(shown)
    assert "digest" not in json.dumps(shown)


def test_a_token_is_made_by_a_coordinator_and_shown_once(
    anna: Caller, ben: Caller, pool: Pool
) -> None:
    assert ben("POST", "/enrolment-tokens", {"pool": "local"}).status_code == 403
    assert Client().post("/api/v1/fleet/enrolment-tokens").status_code == 401
    answer = anna("POST", "/enrolment-tokens", {"pool": "local"})
    assert answer.status_code == 201
    assert answer.headers["Cache-Control"] == "no-store"
    made = answer.json()
    assert made["pool"] == "local"
    kept = EnrolmentToken.objects.get()
    assert made["token"] not in str(EnrolmentToken.objects.values())
    assert made["token"] not in str(list(Entry.objects.values()))
    assert kept.made_by == "user:a-coordinator"
    assert timedelta(minutes=14) < kept.expires_at - timezone.now() <= timedelta(minutes=15)
    credential = enrol(request(made["token"]), timezone.now()).credential
    assert bearer(credential) == Builder.named("b1")


@pytest.mark.parametrize(
    ("pool_name", "status", "said"),
    [
        ("locla", 404, "did you mean `local`?"),
        ("", 404, "there are: local"),
        ("a\0b", 422, ""),
        ("x" * 200, 422, ""),
    ],
)
def test_no_token_for_a_pool_that_is_none(
    anna: Caller, pool: Pool, pool_name: str, status: int, said: str
) -> None:
    answer = anna("POST", "/enrolment-tokens", {"pool": pool_name})
    assert answer.status_code in (status, 422)
    if said and answer.status_code == 404:
        assert said in answer.json()["lifted_by"]
    assert not EnrolmentToken.objects.exists()


def test_a_coordinator_cordons_with_a_reason_and_lifts_it(
    anna: Caller, ben: Caller, builder: Builder
) -> None:
    assert ben("POST", "/builders/b1/cordon", {"reason": "x"}).status_code == 403
    shown = anna("POST", "/builders/b1/cordon", {"reason": "its disk is loud"}).json()
    assert (shown["state"], shown["cordon_reason"]) == ("cordoned", "its disk is loud")
    assert ben("GET", "/builders/b1").json() == shown
    assert ben("POST", "/builders/b1/uncordon").status_code == 403
    shown = anna("POST", "/builders/b1/uncordon").json()
    assert (shown["state"], shown["cordoned_at"], shown["cordon_reason"]) == ("ready", None, "")
    said = Entry.objects.filter(what__contains="cordon").order_by("id")
    assert [(entry.what, entry.who, entry.why) for entry in said] == [
        ("builder cordoned", "user:a-coordinator", "its disk is loud"),
        ("builder uncordoned", "user:a-coordinator", ""),
    ]


@pytest.mark.parametrize("reason", ["", "  ", "x" * 501, "two\nlines", "a\0b", None])
def test_a_cordon_without_a_reason_is_refused(
    anna: Caller, builder: Builder, reason: str | None
) -> None:
    assert anna("POST", "/builders/b1/cordon", {"reason": reason}).status_code == 422
    assert Builder.named("b1").cordoned_at is None


@pytest.mark.parametrize("name", ["b9", "..%2Fb1", "%00", "b1%0A", "x" * 300])
def test_an_unknown_builder_is_not_found(anna: Caller, builder: Builder, name: str) -> None:
    for method, path in (("GET", ""), ("POST", "/uncordon")):
        assert anna(method, f"/builders/{name}{path}").status_code in (404, 422)
    page = Client()
    page.force_login(anna.user)
    assert page.get(f"/builders/{name}").status_code == 404


def test_the_pages_show_builders_and_their_claims_as_claims(ben: Caller, builder: Builder) -> None:
    page = Client()
    page.force_login(ben.user)
    listed = page.get("/builders/").content.decode()
    assert 'href="/builders/b1"' in listed
    text = page.get("/builders/b1").content.decode()
    assert "Nobody has checked this." in text
    assert "It has run nothing yet." in text
    assert "Cordon" not in text.partition("<h2>")[0], "a reader is offered no button"
    assert page.post("/builders/b1", {"action": "cordon", "reason": "x"}).status_code == 403
    assert Builder.named("b1").cordoned_at is None
    assert Client().get("/builders/b1").status_code == 302, "nobody sees it unsigned"


def test_a_coordinator_cordons_on_the_page(anna: Caller, builder: Builder) -> None:
    page = Client()
    page.force_login(anna.user)
    assert 'value="cordon"' in page.get("/builders/b1").content.decode()
    answer = page.post("/builders/b1", {"action": "cordon", "reason": "<b>loud</b>"}, follow=True)
    text = answer.content.decode()
    assert "b1 is cordoned." in text
    assert "b1 is cordoned: &lt;b&gt;loud&lt;/b&gt;" in text
    assert "commonfarm fleet uncordon b1" in text
    assert "<b>loud" not in text
    assert "&lt;b&gt;loud" in page.get("/builders/").content.decode()
    assert page.post("/builders/b1", {"action": "cordon", "reason": " "}).status_code == 422
    assert page.post("/builders/b1", {"action": "explode"}).status_code == 422
    page.post("/builders/b1", {"action": "uncordon"})
    assert Builder.named("b1").cordoned_at is None
    with_csrf = Client(enforce_csrf_checks=True)
    with_csrf.force_login(anna.user)
    refused = with_csrf.post("/builders/b1", {"action": "cordon", "reason": "x"})
    assert refused.status_code == 403


def test_a_silent_builder_says_what_to_do(ben: Caller, builder: Builder) -> None:
    Builder.objects.update(last_seen_at=timezone.now() - timedelta(minutes=2))
    page = Client()
    page.force_login(ben.user)
    assert "start its agent, or look at its host" in page.get("/builders/b1").content.decode()
    assert ben("GET", "/builders/b1").json()["state"] == "silent"
