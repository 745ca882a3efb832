"""What needs a person, static files, headers, errors, and the parts that pages are made of."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from django.utils import timezone

from commonfarm.accounts.interface import Role, User
from commonfarm.archive.models import Adoption, Publication, PublicationState, Release
from commonfarm.estate.interface import ReleaseTree
from commonfarm.farm.models import Job, JobState
from commonfarm.fleet.models import Builder
from commonfarm.http.interface import page
from commonfarm.lib.errors import NotFoundError, Reason
from commonfarm.mirrors.models import Scan
from commonfarm.web import assets, urls
from commonfarm.web.overview import needs
from commonfarm.web.templatetags.commonfarm import distance
from tests.web import world

pytestmark = pytest.mark.django_db


@page(Role.COORDINATOR)
def for_coordinators(_request: HttpRequest) -> HttpResponse:
    raise NotFoundError(Reason("no-such-thing", "there is no <thing>", "make one"))


def breaks(_request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


class Broken:
    """The addresses of the hub, and two that refuse and break."""

    urlpatterns = [
        path("refuses/", for_coordinators),
        path("breaks/", breaks),
        path("api/v1/breaks", breaks),
        *urls.urlpatterns,
    ]
    handler404, handler500 = urls.handler404, urls.handler500


def whats() -> list[str]:
    return [need.what for need in needs(timezone.now())]


def test_a_calm_day_needs_nobody() -> None:
    world.builder()
    world.job(JobState.SUCCEEDED)
    world.job(JobState.WAITING)
    assert whats() == []


def test_jobs_that_no_builder_can_take_come_first() -> None:
    world.job()
    world.job()
    world.job(JobState.FAILED)
    assert whats()[0] == "2 jobs wait, and no builder is there"
    builder = world.builder()
    assert "2 jobs wait, and no builder is there" not in whats()
    builder.cordon("disk is full", who="user:anna", now=timezone.now())
    assert whats()[0] == "2 jobs wait, and no builder is there"


def test_a_silent_builder_is_named_unless_cordoned() -> None:
    builder = world.builder("far", timedelta(hours=1))
    assert whats() == ["Builder far is silent"]
    builder.cordon("moved", who="user:anna", now=timezone.now())
    assert whats() == []
    Builder.objects.update(cordoned_at=None, last_seen_at=timezone.now())
    assert whats() == []


def test_a_failed_job_is_named_until_it_was_built_or_a_week_went_by() -> None:
    world.builder()
    job = world.job(JobState.FAILED, "bc")
    assert whats() == [f"{job.build.source} failed on bookworm-amd64"]
    Job.objects.update(ended_at=timezone.now() - timedelta(days=8))
    assert whats() == []
    Job.objects.update(ended_at=timezone.now())
    world.job(JobState.SUCCEEDED, "zlib")
    assert len(whats()) == 1
    world.job(JobState.SUCCEEDED, "bc", "2.10-4")
    assert whats() == []


def test_a_failed_publication_is_named_until_the_next_one() -> None:
    world.fill(1)
    Scan.objects.update(ok=True)
    Release.objects.update(state="public")
    assert whats() == []
    tree = Publication.objects.get().tree
    Publication.objects.create(
        tree=tree, revision=2, state=PublicationState.FAILED, problem="the signer is away"
    )
    (need,) = needs(timezone.now())
    assert (need.what, need.why) == ("Revision 2 of first was not published", "the signer is away")
    Publication.objects.create(tree=tree, revision=3, state=PublicationState.PUBLISHED)
    assert whats() == []


def test_a_publication_that_waits_says_for_what() -> None:
    world.fill(1)
    Scan.objects.update(ok=True)
    Release.objects.update(state="public")
    tree = Publication.objects.get().tree
    waits = Publication.objects.create(tree=tree, revision=2, state=PublicationState.ASSEMBLED)
    Publication.objects.create(tree=tree, revision=3)
    assert whats() == []
    waits.waits("the signer failed; see its log")
    (need,) = needs(timezone.now())
    assert (need.what, need.why) == ("Revision 2 of first waits", "the signer failed; see its log")


def test_releases_that_wait_for_a_coordinator_are_counted_by_tree() -> None:
    tree = ReleaseTree.objects.create(name="pub")
    for number, state in enumerate(("open", "rejected", "embargoed", "public", "reviewed"), 1):
        Release.objects.create(tree=tree, number=number, title="secret", state=state)
    assert whats() == ["1 release of pub waits"]
    Release.objects.create(tree=tree, number=9, title="secret", state="unlisted")
    assert whats() == ["2 releases of pub wait"]
    taken = Publication.objects.create(tree=tree, revision=1)
    Release.objects.update(publication=taken)
    assert whats() == []


def test_an_adopted_folder_that_was_not_taken_over_is_named() -> None:
    tree = ReleaseTree.objects.create(name="old", adopts="/srv/old")
    Adoption.objects.create(tree=tree, folder="/srv/old", stopped="it is empty")
    (need,) = needs(timezone.now())
    assert (need.what, need.why) == ("The folder of old is not taken over", "it is empty")
    ReleaseTree.objects.update(retired_at=timezone.now())
    assert whats() == []


def test_many_of_a_kind_are_counted() -> None:
    for number in range(10):
        world.builder(f"b{number}", timedelta(hours=1))
    assert whats() == [
        *("Builder b0 is silent", "Builder b1 is silent", "Builder b2 is silent"),
        "and 7 more builders",
    ]


def test_static_files_may_be_kept_for_ever(client: Client) -> None:
    for name in ("base.css", "page.js", "commonfarm.svg", "django_htmx/htmx-2.min.js"):
        answer = client.get(assets.address(name))
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.content == assets.assets()[name].data
    assert client.get(assets.address("base.css")).headers["Content-Type"].startswith("text/css")
    old = assets.address("base.css").replace(assets.assets()["base.css"].digest, "0" * 16)
    for wrong in (old, "/static/0/../../settings.py", "/static/x/..%2f..%2fsettings.py"):
        assert client.get(wrong).status_code == 404


def test_every_answer_carries_the_policy(client: Client) -> None:
    for address in ("/sign-in/", "/nowhere", "/api/v1/openapi.json"):
        answer = client.get(address)
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'self'" in policy and "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["X-Frame-Options"] == "DENY"
        assert (
            "no-cache" in answer.headers["Cache-Control"]
            or "no-store" in (answer.headers["Cache-Control"])
        )


@override_settings(ROOT_URLCONF=Broken)
def test_a_refusal_is_a_page_with_its_reason(client: Client) -> None:
    assert client.get("/refuses/").headers["Location"].startswith("/sign-in/")
    client.force_login(User.add("anna", Role.SUBMITTER, who="user:root"))
    answer = client.get("/refuses/")
    assert answer.status_code == 403 and b"ask an admin for the role" in answer.content
    User.objects.update(role=Role.COORDINATOR)
    answer = client.get("/refuses/")
    assert answer.status_code == 404
    assert b"there is no &lt;thing&gt;" in answer.content and b"make one" in answer.content
    for form, back in (
        ("http://testserver/builds/", "http://testserver/builds/"),
        ("//e.org/", "/"),
    ):
        answer = client.post("/refuses/", headers={"Referer": form})
        assert f'<a href="{back}">Back' in answer.content.decode()


@override_settings(ROOT_URLCONF=Broken)
def test_what_breaks_says_so_without_details() -> None:
    client = Client(raise_request_exception=False)
    shown = client.get("/breaks/")
    assert shown.status_code == 500
    assert b"something broke here" in shown.content and b"ZeroDivision" not in shown.content
    told = client.get("/api/v1/breaks")
    assert told.status_code == 500
    assert told.headers["Content-Type"] == "application/problem+json"


def test_a_host_that_is_not_ours_is_refused() -> None:
    assert RequestFactory().get("/").get_host() == "testserver"
    with override_settings(ALLOWED_HOSTS=["127.0.0.1"]):
        assert Client().get("/sign-in/", headers={"Host": "evil.example"}).status_code == 400


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "now"),
        (42, "42 s ago"),
        (61, "1 min ago"),
        (7300, "2 h ago"),
        (-90, "in 1 min"),
        (172800, "2026-01-08 12:00"),
    ],
)
def test_times_are_said_as_people_say_them(seconds: int, text: str) -> None:
    now = datetime(2026, 1, 10, 12, 0, tzinfo=UTC)
    assert distance(now - timedelta(seconds=seconds), now) == text


def test_parts_escape_what_they_show() -> None:
    evil = "<img src=x onerror=alert(1)>"
    template = Template(
        "{% load commonfarm %}{% badge evil evil %}{% reason evil evil %}{% empty evil evil %}"
        "{% when None evil %}{% pages evil %}{% pages 5 %}"
    )
    request = RequestFactory().get("/", {"after": "9", "subject": evil})
    shown = template.render(Context({"evil": evil, "request": request}))
    assert "<img" not in shown
    assert 'class="badge plain"' in shown
    assert "after=5" in shown and 'rel="first"' in shown
