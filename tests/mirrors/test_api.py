"""The API of the mirrors: who may, what is refused, and that edits do not run over each other."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from commonfarm.accounts.interface import Role
from commonfarm.estate.interface import ReleaseTree
from commonfarm.journal.models import Entry
from commonfarm.mirrors.models import Mirror
from tests.mirrors.registered import NOW, Caller, jobs, published, registered

pytestmark = pytest.mark.django_db

NEW = {"name": "north", "tree": "demo", "http": "http://127.0.0.1:9/demo", "country": "de"}
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)


@pytest.fixture
def demo(db: None) -> ReleaseTree:
    return published()


@pytest.fixture
def anna(db: None) -> Caller:
    return Caller("anna", Role.COORDINATOR)


@pytest.fixture
def ben(db: None) -> Caller:
    return Caller("ben")


def problem(answer: Any) -> str:
    assert answer["Content-Type"] == "application/problem+json", answer.content
    return str(answer.json()["type"]).rpartition(":")[2]


def test_whoever_has_an_account_registers_a_mirror_and_runs_it(
    ben: Caller, demo: ReleaseTree
) -> None:
    answer = ben("POST", "", NEW)
    assert answer.status_code == 201, answer.content
    shown = answer.json()
    assert (shown["http"], shown["country"]) == ("http://127.0.0.1:9/demo/", "DE")
    assert shown["state"] == "unproved"
    assert shown["details"]["administrators"] == ["ben"]
    assert shown["details"]["proof"]["addresses"] == [
        "http://127.0.0.1:9/demo/commonfarm-mirror.txt"
    ]
    assert "put the token's file there" in shown["details"]["why"]["lifted_by"]
    assert ben("GET", "/north").json() == shown
    assert ben("GET", "").json() == {"items": [shown], "next": None}
    assert jobs() == ["mirrors.prove", "mirrors.write_map"]
    assert Entry.objects.get(what="mirror added").who == "user:ben"


def test_others_see_only_what_is_public(ben: Caller, demo: ReleaseTree) -> None:
    ben("POST", "", NEW | {"sponsor": "North"})
    carl = Caller("carl", Role.SUBMITTER)
    shown = carl("GET", "/north").json()
    assert shown["details"] is None
    assert (shown["sponsor"], shown["state"]) == ("North", "unproved")
    token = Mirror.named("north").token
    assert token not in carl("GET", "/north").content.decode()
    assert token not in carl("GET", "").content.decode()
    for method, path, body in [
        ("PATCH", "/north", {"country": "FR"}),
        ("DELETE", "/north", None),
        ("PUT", "/north/logo", PNG),
        *(("POST", f"/north/{verb}", {}) for verb in ("scan", "probe", "audit", "prove")),
        *(("POST", f"/north/{verb}", {"why": "x"}) for verb in ("vouch", "lift-quarantine")),
    ]:
        answer = carl(method, path, body, **{"If-Match": "*"})
        assert answer.status_code == 403, (method, path)
    assert Client().get("/api/v1/mirrors").status_code == 401


def test_a_name_is_given_once_and_free_again_after_removal(ben: Caller, demo: ReleaseTree) -> None:
    ben("POST", "", NEW)
    assert problem(ben("POST", "", NEW)) == "mirror-exists"
    assert ben("DELETE", "/north").status_code == 204
    assert ben("GET", "/north").status_code == 404
    assert ben("POST", "", NEW).status_code == 201
    assert Mirror.objects.count() == 2


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"tree": "none"}, 404, ""),
        ({"name": "../x"}, 422, "name"),
        ({"name": "North"}, 422, "name"),
        ({"name": "a\n"}, 422, "name"),
        ({"name": "redirectors"}, 422, "name"),
        ({"country": "Germany"}, 422, "country"),
        ({"country": "d1"}, 422, "country"),
        ({"http": "ftp://x/"}, 422, "http"),
        ({"http": "https://x.org/"}, 422, "http"),
        ({"http": ""}, 422, "http"),
        ({"http": "http://user:secret@example.org/"}, 422, "http"),
        ({"http": "http://example.org/?q"}, 422, "http"),
        ({"http": "http://169.254.169.254/"}, 409, ""),
        ({"https": "https://10.0.0.1/"}, 409, ""),
        ({"rsync_url": "http://x/"}, 422, "rsync_url"),
        ({"rsync_url": "rsync://example.org/"}, 422, "rsync_url"),
        ({"tree": "a\x00b"}, 422, "tree"),
        ({"latitude": 52.5}, 422, "longitude"),
        ({"latitude": 91, "longitude": 0}, 422, "latitude"),
        ({"as_number": 2**32}, 422, "as_number"),
        ({"prefixes": ["192.0.2.1/24"]}, 422, "prefixes"),
        ({"prefixes": ["0.0.0.0/0"]}, 422, "prefixes"),
        ({"prefixes": ["2000::/3"]}, 422, "prefixes"),
        ({"prefixes": ["<script>"]}, 422, "prefixes"),
        ({"only_countries": ["Germany"]}, 422, "only_countries"),
        ({"only_networks": ["x"]}, 422, "only_networks"),
        ({"weight": 1000}, 403, ""),
        ({"subtree": "activities/../.."}, 422, "subtree"),
        ({"subtree": "activites"}, 422, "subtree"),
        ({"sponsor": "a\x07b"}, 422, "sponsor"),
        ({"sponsor_url": "javascript:alert(1)"}, 422, "sponsor_url"),
        ({"pledge": "none"}, 422, "pledge"),
        ({"push": "fax"}, 422, "push"),
        ({"push": "webhook"}, 422, "push_to"),
        ({"push": "webhook", "push_to": "ftp://x/"}, 422, "push_to"),
        ({"push": "webhook", "push_to": "http://192.168.0.1/hook"}, 409, ""),
        ({"push": "ssh", "push_to": "archvsync@x.org; reboot"}, 422, "push_to"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    ben: Caller, demo: ReleaseTree, change: dict[str, Any], status: int, field: str
) -> None:
    answer = ben("POST", "", NEW | change)
    assert answer.status_code == status, answer.content
    problem(answer)
    told = [one.get("file") or one.get("where") for one in answer.json().get("problems", [])]
    assert told == ([field] if field else [])
    assert Mirror.objects.count() == 0
    assert jobs() == []


def test_all_that_is_wrong_is_told_at_once(ben: Caller, demo: ReleaseTree) -> None:
    answer = ben("POST", "", NEW | {"country": "x", "pledge": "y", "subtree": "activites"})
    told = {one["file"]: one for one in answer.json()["problems"]}
    assert set(told) == {"country", "pledge", "subtree"}
    assert told["subtree"]["to_do"] == "did you mean `activities`?"


def test_every_field_is_kept_as_it_is_checked(anna: Caller, demo: ReleaseTree) -> None:
    fields = {
        "https": "https://mirror.example.org/pub",
        "rsync_url": "rsync://mirror.example.org/pub",
        "subtree": "/activities/4/",
        "latitude": 52.5,
        "longitude": 13.4,
        "as_number": 680,
        "prefixes": ["2001:d00::/24", "192.0.0.0/8"],
        "only_countries": ["fr", "de", "de"],
        "only_networks": ["198.51.100.0/24"],
        "weight": 250,
        "budget_bytes": 500 * 10**9,
        "sponsor": "Universität ",
        "sponsor_url": "https://example.org/",
        "push": "ssh",
        "push_to": "ssh://archvsync@mirror.example.org:2222",
    }
    details = anna("POST", "", NEW | fields).json()["details"]
    mirror = Mirror.named("north")
    assert (mirror.https, mirror.rsync_url) == (
        "https://mirror.example.org/pub/",
        "rsync://mirror.example.org/pub/",
    )
    assert mirror.subtree == "activities/4"
    assert details["prefixes"] == ["192.0.0.0/8", "2001:d00::/24"]
    assert details["only_countries"] == ["DE", "FR"]
    assert (details["weight"], details["budget_bytes"]) == (250, 500 * 10**9)
    assert (mirror.sponsor, details["push_to"]) == ("Universität", fields["push_to"])


def test_an_edit_names_the_version_it_was_made_from(ben: Caller, demo: ReleaseTree) -> None:
    ben("POST", "", NEW)
    tag = ben("GET", "/north")["ETag"]
    assert ben("PATCH", "/north", {"country": "FR"}).status_code == 428
    edited = ben("PATCH", "/north", {"country": "fr"}, **{"If-Match": tag})
    assert (edited.status_code, edited.json()["country"]) == (200, "FR")
    assert ben("PATCH", "/north", {"country": "US"}, **{"If-Match": tag}).status_code == 412
    assert edited["ETag"] == ben("GET", "/north")["ETag"]
    assert Entry.objects.get(what="mirror edited").details == {"changes": {"country": "FR"}}


def test_another_address_has_to_be_proved_anew(ben: Caller, demo: ReleaseTree) -> None:
    mirror = registered(demo, "north")
    mirror.administrators.add(ben.user)
    assert ben.edit("north", {"country": "FR"}).json()["details"]["proved_at"]
    shown = ben.edit("north", {"http": "http://other.example.org/"}).json()
    assert (shown["state"], shown["details"]["answers"]) == ("unproved", [])
    assert shown["details"]["proof"]["token"] != "t"
    assert "mirrors.prove" in jobs()
    # Leaving an address out takes no proof: what remains was shown.
    Mirror.objects.update(proved_at=mirror.proved_at)
    assert ben.edit("north", {"http": ""}).json()["details"]["proved_at"]


def test_a_coordinator_vouches(anna: Caller, ben: Caller, demo: ReleaseTree) -> None:
    ben("POST", "", NEW)
    assert ben("POST", "", NEW | {"name": "south", "vouch": True}).status_code == 403
    assert not Mirror.objects.filter(name="south").exists()
    assert anna("POST", "/north/vouch", {"why": "known"}).json()["state"] == "unprobed"
    told = Entry.objects.get(what="mirror proved")
    assert (told.who, told.why, told.details) == ("user:anna", "known", {"how": "vouched"})
    assert "mirrors.scan" in jobs()


def test_a_mirror_is_looked_at_only_after_its_proof(ben: Caller, demo: ReleaseTree) -> None:
    ben("POST", "", NEW)
    for verb in ("scan", "probe", "audit"):
        assert problem(ben("POST", f"/north/{verb}")) == "mirror-not-proved"
    assert ben("POST", "/north/prove").status_code == 202
    assert jobs() == ["mirrors.prove", "mirrors.write_map"]


def test_a_scan_is_asked_for_once_however_often(ben: Caller, demo: ReleaseTree) -> None:
    registered(demo, "north").administrators.add(ben.user)
    assert ben("POST", "/north/scan").status_code == 202
    assert ben("POST", "/north/scan").status_code == 202
    assert jobs().count("mirrors.scan") == 1


def test_a_quarantine_is_not_left_by_another_name(
    ben: Caller, anna: Caller, demo: ReleaseTree
) -> None:
    registered(demo, "north", quarantine="piece 3 of x differs").administrators.add(ben.user)
    assert ben("DELETE", "/north").status_code == 204
    again = NEW | {"https": "https://north.example.org:444/else/"}
    shown = ben("POST", "", again).json()
    assert shown["details"]["quarantine"] == "as north, on the same host: piece 3 of x differs"
    other = {"name": "south", "http": "http://south.example.org/"}
    assert ben("POST", "", NEW | other).json()["details"]["quarantine"] == ""
    assert anna("POST", "", again | {"name": "new"}).json()["details"]["quarantine"] == ""


def test_an_address_is_of_one_mirror(ben: Caller, demo: ReleaseTree) -> None:
    mirror = registered(demo, "other")
    same = NEW | {"https": mirror.https}
    assert b"is the address of the mirror other" in ben("POST", "", same).content
    mirror.proved_at = None  # whoever has not shown that it is theirs keeps nobody from it
    mirror.save()
    assert ben("POST", "", same).status_code == 201


def test_what_the_project_says_is_not_for_administrators(
    anna: Caller, ben: Caller, demo: ReleaseTree
) -> None:
    registered(demo, "north", quarantine="piece 3 of x differs").administrators.add(ben.user)
    assert problem(ben.edit("north", {"weight": 500})) == "for-coordinators"
    assert ben.edit("north", {"weight": 100, "country": "AT"}).status_code == 200
    assert anna.edit("north", {"weight": 500}).json()["details"]["weight"] == 500
    assert ben("POST", "/north/lift-quarantine", {"why": "mended"}).status_code == 403
    assert anna("POST", "/north/lift-quarantine", {}).status_code == 422
    assert anna("POST", "/north/lift-quarantine", {"why": "mended"}).status_code == 200
    assert Entry.objects.get(what="mirror quarantine lifted").why == "mended"


def test_administrators_hand_over_and_a_mirror_keeps_one(
    anna: Caller, ben: Caller, demo: ReleaseTree
) -> None:
    ben("POST", "", NEW)
    assert ben.edit("north", {"administrators": ["nobody"]}).status_code == 422
    assert ben.edit("north", {"administrators": []}).status_code == 422
    Caller("carl")
    assert ben.edit("north", {"administrators": ["carl"]}).status_code == 200
    assert ben("GET", "/north").json()["details"] is None
    assert anna("GET", "/north").json()["details"]["administrators"] == ["carl"]


def test_nobody_registers_without_end(ben: Caller, demo: ReleaseTree) -> None:
    for number in range(10):
        assert ben("POST", "", NEW | {"name": f"m{number}"}).status_code == 201
    assert problem(ben("POST", "", NEW)) == "too-many-unproved"
    Mirror.objects.update(proved_at=NOW)
    for number in range(40):
        registered(demo, f"n{number}").administrators.add(ben.user)
    assert problem(ben("POST", "", NEW)) == "too-many-mirrors"


def test_disabling_and_enabling_are_told_with_why(ben: Caller, demo: ReleaseTree) -> None:
    registered(demo, "north").administrators.add(ben.user)
    for enabled, state in ((False, "disabled"), (False, "disabled"), (True, "unscanned")):
        edited = ben.edit("north", {"enabled": enabled, "why": "disk"})
        assert edited.json()["state"] == state
    told = Entry.objects.filter(what__in=["mirror disabled", "mirror enabled"]).order_by("id")
    assert [(entry.what, entry.why) for entry in told] == [
        ("mirror disabled", "disk"),
        ("mirror enabled", "disk"),
    ]


def test_a_bad_edit_changes_nothing(ben: Caller, demo: ReleaseTree) -> None:
    ben("POST", "", NEW)
    assert ben.edit("north", {"country": "FR", "http": "http://10.0.0.1/"}).status_code == 409
    assert ben.edit("north", {"country": "FR", "enabled": False, "pledge": "x"}).status_code == 422
    assert ben("GET", "/north").json()["country"] == "DE"
    assert Mirror.named("north").enabled


def test_coordinates_can_be_taken_back(ben: Caller, demo: ReleaseTree) -> None:
    ben("POST", "", NEW | {"latitude": 1.5, "longitude": 2.5})
    edited = ben.edit("north", {"latitude": None, "longitude": None})
    assert edited.json()["details"]["latitude"] is None


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (PNG, 200),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 200),
        (b"", 200),
        (b"<html><script>alert(1)</script></html>", 422),
        (b"GIF89a", 422),
        (PNG + bytes(300_000), 422),
    ],
)
def test_a_logo_is_small_and_a_picture(
    ben: Caller, demo: ReleaseTree, data: bytes, status: int
) -> None:
    registered(demo, "north").administrators.add(ben.user)
    assert ben("PUT", "/north/logo", data).status_code == status
    logo = Mirror.named("north").logo
    assert (logo is not None) == (status == 200 and bool(data))


def test_lists_are_turned_by_page_and_asked_by_filter(anna: Caller, demo: ReleaseTree) -> None:
    other = published("other")
    for number in range(5):
        registered(demo, f"m{number}", "FR" if number % 2 else "DE")
    registered(other, "o1").administrators.add(anna.user)
    first = anna("GET", "?limit=4").json()
    rest = anna("GET", f"?limit=4&after={first['next']}").json()
    names = [one["name"] for one in first["items"] + rest["items"]]
    assert names == ["o1", "m4", "m3", "m2", "m1", "m0"]
    assert rest["next"] is None
    for query, count in (("tree=other", 1), ("country=fr", 2), ("mine=true", 1)):
        assert len(anna("GET", f"?{query}").json()["items"]) == count, query


def test_a_list_takes_few_queries(
    anna: Caller, demo: ReleaseTree, django_assert_max_num_queries: Any
) -> None:
    for number in range(60):
        registered(demo, f"m{number}")
    with django_assert_max_num_queries(8):
        assert len(anna("GET", "?limit=500").json()["items"]) == 60


def test_names_that_nobody_has_are_not_found(anna: Caller, demo: ReleaseTree) -> None:
    for name in ("none", "%00", "a%0Ab", "x" * 300, "%F0%9F%90%83"):
        assert anna("GET", f"/{name}").status_code == 404, name
