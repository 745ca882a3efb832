"""The estate's pages: what each shows, to whom, and what none of them ever shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from commonfarm.accounts.interface import Role, User
from commonfarm.estate import answering, tasks
from commonfarm.estate.facts import Facts, Range, Sponsor, Transfer
from commonfarm.estate.kept import to_json
from commonfarm.estate.models import Answer, Load
from commonfarm.lib.errors import Reason, RefusedError
from commonfarm.web.overview import needs
from tests.estate import pictured
from tests.estate.making import facts, host, instance, pledge
from tests.web import world

pytestmark = pytest.mark.django_db

PAGES = (
    *("/estate/", "/estate/hosts/", "/estate/services/", "/estate/pledges/", "/estate/forecast/"),
    *("/estate/changes/", "/estate/wanted/", "/sponsors/"),
)
SECRETS = ("secretcorp", "Secret Corporation", "secret-loan", "secret.svg")


@pytest.fixture(autouse=True)
def on_that_day(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("commonfarm.estate.views.today", lambda: pictured.TODAY)


@pytest.fixture
def reader(client: Client) -> Client:
    client.force_login(User.add("ben", Role.READER, who="test"))
    return client


def text(answer: Any) -> str:
    assert isinstance(answer, HttpResponse)
    return " ".join(answer.content.decode().split())


def test_before_the_first_load_each_page_says_what_to_run(reader: Client) -> None:
    for path in PAGES:
        answer = reader.get(path)
        assert answer.status_code == 200, path
        if path != "/sponsors/":
            assert "commonfarm estate follow https://HOST/ESTATE.git" in text(answer), path
    assert reader.get("/estate/map.svg").status_code == 404
    assert reader.get("/estate/hosts/x").status_code == 200


def test_an_estate_that_says_little_has_pages_too(reader: Client) -> None:
    world.loaded(facts(host("bare")))
    for path in (*PAGES, "/estate/hosts/bare", "/estate/map.svg"):
        assert reader.get(path).status_code == 200, path
    assert "It says no capacity" in text(reader.get("/estate/hosts/"))
    assert "names no services yet" in text(reader.get("/estate/"))
    assert "names no pledges" in text(reader.get("/estate/pledges/"))


def test_pages_are_for_those_who_are_signed_in_but_for_the_sponsors(client: Client) -> None:
    world.loaded(pictured.estate(6))
    for path in (
        *PAGES[:-1],
        "/estate/hosts/host-001",
        "/estate/map.svg",
        "/estate/forecast/curve.svg",
    ):
        assert client.get(path).status_code == 302, path
    seen = client.get("/sponsors/")
    assert seen.status_code == 200
    assert "Lend two more hosts" not in text(seen), "nor is what a commit says for everyone"
    assert client.get("/sponsors/logos/nokia.svg").status_code == 200


def test_who_gives_anonymously_is_on_no_page(reader: Client) -> None:
    of = pictured.estate(12)
    world.loaded(of)
    places = [f"/estate/hosts/{name}" for name in of.hosts if name.startswith("host")]
    places += [f"/estate/services/{name}" for name in of.services]
    for path in (*PAGES, *places, "/estate/map.svg"):
        answer = reader.get(path)
        assert answer.status_code == 200, path
        assert not any(secret in text(answer) for secret in SECRETS), path
    for path in (
        "answers/plan",
        "answers/forecast",
        "answers/cliffs",
        "answers/wanted",
        "loads",
        "following",
    ):
        answer = reader.get(f"/api/v1/estate/{path}")
        assert answer.status_code == 200, path
        assert not any(secret in text(answer) for secret in SECRETS), path
    assert reader.get("/sponsors/logos/secret.svg").status_code == 404


def test_an_answer_about_what_was_public_is_not_told_when_it_is_not_any_more(
    reader: Client,
) -> None:
    before = pictured.estate(6)
    of = replace(before.pledges["secret-loan"], disclosure="public")
    world.loaded(replace(before, pledges={**before.pledges, "secret-loan": of}))
    assert "secret-loan" in text(reader.get("/api/v1/estate/answers/cliffs"))
    load = Load.objects.get()
    load.pk = None
    load.facts = to_json(before)
    load.save()
    for path in ("answers", "answers/plan", "answers/cliffs", "answers/forecast", "answers/wanted"):
        assert not any(one in text(reader.get(f"/api/v1/estate/{path}")) for one in SECRETS), path
    assert reader.get("/api/v1/estate/answers/plan").status_code == 404
    assert reader.get("/api/v1/estate/answers").json() == []


def test_the_sponsors_page_shows_what_each_allowed(client: Client) -> None:
    world.loaded(pictured.estate(6))
    page = text(client.get("/sponsors/"))
    assert "And 1 who does not want to be named." in page
    assert "gives to us, since 2025-01" in page, "the amount is hidden"
    assert "fixed" not in page
    assert "https://nokia.example" in page
    assert "javascript:" not in page
    assert "&lt;script&gt;" in page and "<script>alert" not in page
    assert "Before: past, 2025-01 to 2025-12" in page


def test_who_gave_nothing_yet_is_not_thanked(client: Client) -> None:
    given = pictured.estate(6)
    later = replace(
        given.pledges["past"], name="later", sponsor="later", start=date(2099, 1, 1), until=None
    )
    quiet = replace(later, name="quiet", sponsor="quiet", disclosure="anonymous")
    more = {
        name: Sponsor(name, f"The {name} one", None, None, None, "")
        for name in ("asked", "later", "quiet")
    }
    pledges = {**given.pledges, "later": later, "quiet": quiet}
    world.loaded(replace(given, sponsors={**given.sponsors, **more}, pledges=pledges))
    page = text(client.get("/sponsors/"))
    assert "OCaml Labs" in page
    assert "The asked one" not in page and "The later one" not in page
    assert "And 1 who does not want to be named." in page


def test_a_logo_is_an_image_and_nothing_else(client: Client) -> None:
    world.loaded(pictured.estate(6))
    logo = client.get("/sponsors/logos/nokia.svg")
    assert logo.content == world.LOGO
    assert logo.headers["Content-Type"] == "image/svg+xml"
    policy = logo.headers["Content-Security-Policy"]
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; sandbox"
    assert logo.headers["X-Content-Type-Options"] == "nosniff"
    for name in ("estate.yaml", "other.svg", "..%2fnokia.svg", "nokia.svg%00"):
        assert client.get(f"/sponsors/logos/{name}").status_code == 404, name


def test_the_overview_says_at_which_commit_and_what_does_not_fit(reader: Client) -> None:
    world.loaded(pictured.estate(12))
    page = text(reader.get("/estate/"))
    assert f'<code title="{"a" * 40}">{"a" * 12}</code>' in page
    assert "giant/app/production/1" in page
    assert "nearest: 48 GiB free" in page
    assert "with &lt;script&gt;alert(1)" in page and "<script>alert" not in page
    assert '<strong class="lost">2 instances without a host</strong>, 1 move' in page
    assert "host host-000: memory is 64 GiB, was 32 GiB" in page
    assert "and 4 more." in page
    assert "is not loaded" not in page
    world.refuse_a_commit()
    page = text(reader.get("/estate/"))
    assert "is not loaded; the estate before it stays in force" in page
    assert "<code>hosts.yaml:3:5</code>: unknown key `memry`; did you mean `memory`?" in page
    (need,) = needs(timezone.now())
    assert need.what == f"Commit {'c' * 12} of the estate is not loaded"


def test_hosts_are_shown_by_site_and_page(reader: Client) -> None:
    world.loaded(pictured.estate(150))
    first = text(reader.get("/estate/hosts/"))
    assert "1 to 60 of 150" in first and "after=60" in first
    assert "121 to 150 of 150" in text(reader.get("/estate/hosts/?after=120"))
    one = text(reader.get("/estate/hosts/?site=phx2"))
    assert "1 to 60 of 100" in one and "<h2>a-site" not in one
    assert one.count("network build 10.5.124.0/24: <span>0 of 253 addresses") == 1
    for odd in ("?after=x", "?after=99999999999", "?site=none", "?site=%00", "?after=-1"):
        assert reader.get(f"/estate/hosts/{odd}").status_code == 200, odd


def test_longer_lists_go_on_at_the_next_page(reader: Client) -> None:
    world.loaded(pictured.estate(70))
    page = text(reader.get("/estate/hosts/?site="))
    assert '<a href="?site=&amp;after=60" rel="next">Next</a>' in page
    assert ">First</a>" not in page
    page = text(reader.get("/estate/hosts/?after=60"))
    assert '<a href="?" rel="first">First</a>' in page and ">Next</a>" not in page
    first, second = (text(reader.get(f"/estate/forecast/{at}")) for at in ("", "?after=60"))
    assert "1 to 60 of" in first and "61 to " in second
    assert first.count('data-label="Why"') == 60
    assert second.count('data-label="Why"') > 0


def test_one_host_and_one_service(reader: Client) -> None:
    world.loaded(pictured.estate(12))
    page = text(reader.get("/estate/hosts/host-001"))
    assert 'aria-label="host-001: memory 12 GiB of 64 GiB"' in page
    assert "bugs/app/production/10: memory 12 GiB" in page
    assert "memory 12 GiB (8 GiB to 24 GiB)" in page
    assert 'nokia-2025</a>: ends on <span class="nowrap">2026-04-01</span>' in page
    page = text(reader.get("/estate/services/giant"))
    assert "needs 4 TiB and bare metal" in page
    missing = reader.get("/estate/hosts/host-0001")
    assert (missing.status_code, "did you mean `host-001`?" in text(missing)) == (404, True)
    assert reader.get("/estate/services/x").status_code == 404


def test_pledges_say_what_happens_when_they_end(reader: Client) -> None:
    world.loaded(pictured.estate(12))
    page = text(reader.get("/estate/pledges/"))
    order = [page.index(f'<tr id="{name}">') for name in ("nokia-2025", "fixed", "open", "past")]
    assert order == sorted(order)
    assert 'aria-label="nokia-2025: ends on 2026-04-01"' in page
    assert "<summary>2</summary> <ul> <li>" in page or "<summary>2</summary><ul><li>" in page
    assert "open <small>could end, if notice were given today</small>" in page
    assert "If it vanished today" in page and "host-004</a>" in page


def test_the_forecast_shows_what_runs_out_with_its_curve(reader: Client) -> None:
    mass = Transfer("rebuild", "phx2", Range(100, 150, 200), 2 * 10**9, 10**9, 1800, "x.yaml:1:1")
    world.loaded(pictured.estate(6, transfers=(mass,)))
    page = text(reader.get("/estate/forecast/"))
    assert "cores of all hosts would be" in page
    assert "150 (100 to 200) copies of 2 GB over 1 Gbit/s" in page
    assert "16 s, and 53 min 20 s out of the cache" in page
    _, curve, *_ = page.split('<img src="/estate/')
    drawn = reader.get("/estate/" + curve.split('"')[0].replace("&amp;", "&"))
    assert (drawn.status_code, drawn.headers["Content-Type"]) == (200, "image/svg+xml")
    assert drawn.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert reader.get("/estate/forecast/curve.svg?scope=host&name=x").status_code == 404


def test_the_wanted_list_comes_with_its_letter(reader: Client) -> None:
    world.loaded(pictured.estate(6))
    page = text(reader.get("/estate/wanted/"))
    assert "2 hosts, cost 20" in page
    assert "also after the loss of any one host as far as can be. None is cheaper" in page
    assert "What has no place after a loss" in page
    assert "rack server &lt;script&gt;" in page and "<script>alert" not in page
    assert "1 spare, for a loss" in page
    assert "40 more addresses" in page and "10.5.124.0/23 would do" in page
    assert "Dear sponsor," in page
    assert "without host host-001" in page
    Answer.objects.filter(kind="wanted").update(
        document="", problem={"code": "x", "text": "the solver was stopped", "lifted_by": "again"}
    )
    assert "The solver was stopped" in text(reader.get("/estate/wanted/")).replace("the s", "The s")


def test_while_the_plan_is_made_it_is_shown_as_it_runs(reader: Client) -> None:
    world.loaded(pictured.estate(6))
    Answer.objects.all().delete()
    page = text(reader.get("/estate/"))
    assert "The plan of this estate is being made" in page
    assert "The forecast of this estate is being made" in text(reader.get("/estate/forecast/"))
    assert "bugs/app/production/10" in text(reader.get("/estate/hosts/host-001"))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("hosts/", "plan"),
        ("hosts/host-001", "plan"),
        ("services/", "plan"),
        ("services/bugs", "plan"),
        ("pledges/", "plan"),
        ("pledges/", "cliffs"),
        ("forecast/", "forecast"),
        ("wanted/", "wanted"),
    ],
)
def test_a_page_looks_again_by_itself_while_its_answer_is_made(
    reader: Client, path: str, kind: str
) -> None:
    address, looks = f"/estate/{path}", 'id="live" hx-get=""'
    assert looks in text(reader.get(address)), "nor is there an estate yet"
    world.loaded(pictured.estate(6))
    assert looks not in text(reader.get(address)), "what is there is not taken from its reader"
    Answer.objects.filter(kind=kind).delete()
    page = text(reader.get(address))
    assert looks in page and page.count('id="live"') == 1


@pytest.mark.parametrize("path", ["forecast", "wanted", "pledges"])
def test_an_answer_that_failed_is_told_where_it_would_stand(reader: Client, path: str) -> None:
    load = world.loaded(pictured.estate(3))
    Answer.objects.filter(load=load).update(
        document="", problem={"code": "x", "text": "the solver was stopped", "lifted_by": "again"}
    )
    shown = text(reader.get(f"/estate/{path}/"))
    assert "the solver was stopped" in shown
    assert "being made" not in shown and "takes a moment" not in shown


def small() -> Facts:
    return facts(
        pledge("loan", "secretcorp", disclosure="anonymous", until=date(2027, 1, 1)),
        host("a", memory="8 GiB", cores=4, disk="1 TB", pledge="loan", sponsor="secretcorp"),
        instance("wiki", memory="4 GiB", cores=1),
    )


def test_the_worker_answers_once_a_day_and_after_each_load() -> None:
    today = pictured.TODAY
    assert answering.due(today) == []
    assert answering.answer("plan", today) is None
    load = world.loaded(small())
    Answer.objects.all().delete()
    assert answering.due(today) == ["plan", "forecast", "cliffs", "wanted"]
    for kind in answering.due(today):
        answering.answer(kind, today)
    assert answering.due(today) == []
    plan = Answer.objects.get(kind="plan")
    assert (plan.load, plan.as_of, plan.problem) == (load, today, None)
    assert '"wiki/app/production/1": "a"' in plan.document
    assert not any("secretcorp" in one.document for one in Answer.objects.all())
    assert answering.due(date(2026, 1, 16)) == ["plan", "forecast", "cliffs", "wanted"]
    answering.answer("plan", date(2026, 1, 16))
    assert Answer.objects.filter(kind="plan").count() == 1, "the newest is kept"


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RefusedError(Reason("stopped", "the solver was stopped", "again")), "the solver was"),
        (ZeroDivisionError("x"), "a fault of ours kept the plan from being made"),
    ],
)
def test_an_answer_that_fails_says_why_and_is_not_tried_in_a_loop(
    reader: Client, monkeypatch: pytest.MonkeyPatch, error: Exception, told: str
) -> None:
    world.loaded(small())
    Answer.objects.all().delete()

    def fails(_facts: Facts, _today: date) -> str:
        raise error

    monkeypatch.setitem(answering.KINDS, "plan", fails)
    answering.answer("plan", pictured.TODAY)
    assert answering.due(pictured.TODAY) == ["forecast", "cliffs", "wanted"]
    assert told in text(reader.get("/estate/"))
    shown = reader.get("/api/v1/estate/answers/plan").json()
    assert (shown["document"], told in shown["problem"]["text"]) == (None, True)


def test_each_minute_the_worker_sees_what_is_missing() -> None:
    from procrastinate.contrib.django.models import ProcrastinateJob

    world.loaded(small())
    Answer.objects.all().delete()
    for _ in range(2):
        tasks.reconcile_estate(0)
    waiting = ProcrastinateJob.objects.values_list("queueing_lock", flat=True).order_by("id")
    assert list(waiting) == [
        *("estate.follow", "estate.answer:plan", "estate.answer:forecast"),
        *("estate.answer:cliffs", "estate.answer:wanted"),
    ]


def test_addresses_are_linked_from_the_main_navigation(reader: Client) -> None:
    assert reverse("estate") == "/estate/"
    page = text(reader.get("/sponsors/"))
    assert '<a href="/estate/" aria-current="true">Estate</a>' in page
