"""The API of the mirrors: who may, what is refused, and that edits do not run over each other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.journal.models import Entry
from commonfarm.mirrors.models import Mirror
from tests.mirrors.conftest import Tree

pytestmark = pytest.mark.django_db

NEW = {"name": "north", "tree": "demo", "url": "http://127.0.0.1:9/demo", "country": "de"}


class Caller:
    """Calls the API as a user of some role."""

    def __init__(self, role: Role) -> None:
        user = User.add(f"a-{role}", role, who="test")
        self.token = ApiToken.make(user, "test", who="test").reveal()

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        return Client().generic(
            method,
            f"/api/v1/mirrors{path}",
            data="" if body is None else json.dumps(body),
            content_type="application/json",
            headers={"Authorization": f"Bearer {self.token}", **headers},
        )


@pytest.fixture
def anna(db: None) -> Caller:
    return Caller(Role.COORDINATOR)


def jobs() -> list[str]:
    return sorted(ProcrastinateJob.objects.values_list("task_name", flat=True))


def test_a_mirror_is_registered_shown_and_listed(anna: Caller, tree: Tree) -> None:
    answer = anna("POST", "", NEW)
    assert answer.status_code == 201, answer.content
    shown = answer.json()
    assert (shown["url"], shown["country"]) == ("http://127.0.0.1:9/demo/", "DE")
    assert (shown["state"], shown["last_scan"]) == ("unscanned", None)
    assert anna("GET", "/north").json() == shown
    assert anna("GET", "").json() == {"items": [shown], "next": None}
    assert jobs() == ["mirrors.scan", "mirrors.write_map"]
    assert Entry.objects.get(what="mirror added").who == "user:a-coordinator"


def test_a_name_is_given_once_and_free_again_after_removal(anna: Caller, tree: Tree) -> None:
    anna("POST", "", NEW)
    again = anna("POST", "", NEW)
    assert (again.status_code, again.json()["type"]) == (
        409,
        "urn:commonfarm:problem:mirror-exists",
    )
    assert anna("DELETE", "/north").status_code == 204
    assert anna("GET", "/north").status_code == 404
    assert anna("POST", "", NEW).status_code == 201
    assert Mirror.objects.count() == 2


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"tree": "none"}, 404),
        ({"name": "../x"}, 422),
        ({"name": "North"}, 422),
        ({"name": "a\n"}, 422),
        ({"country": "Germany"}, 422),
        ({"country": "d1"}, 422),
        ({"url": "ftp://x/"}, 422),
        ({"url": "http://user:secret@example.org/"}, 422),
        ({"url": "http://example.org/?q"}, 422),
        ({"url": "http://169.254.169.254/"}, 409),
        ({"url": "http://10.0.0.1/"}, 409),
        ({"rsync_url": "http://x/"}, 422),
        ({"tree": "a\x00b"}, 422),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(
    anna: Caller, tree: Tree, change: dict[str, str], status: int
) -> None:
    answer = anna("POST", "", NEW | change)
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/problem+json"
    assert b"secret" not in answer.content or "secret" in str(change)
    assert Mirror.objects.count() == 0
    assert jobs() == []


def test_an_edit_names_the_version_it_was_made_from(anna: Caller, tree: Tree) -> None:
    anna("POST", "", NEW)
    tag = anna("GET", "/north")["ETag"]
    assert anna("PATCH", "/north", {"country": "FR"}).status_code == 428
    edited = anna("PATCH", "/north", {"country": "fr"}, **{"If-Match": tag})
    assert (edited.status_code, edited.json()["country"]) == (200, "FR")
    assert anna("PATCH", "/north", {"country": "US"}, **{"If-Match": tag}).status_code == 412
    assert edited["ETag"] == anna("GET", "/north")["ETag"]
    assert Entry.objects.get(what="mirror edited").details == {"changes": {"country": "FR"}}


def test_disabling_and_enabling_are_told_with_why(anna: Caller, tree: Tree) -> None:
    anna("POST", "", NEW)
    for enabled, state in ((False, "disabled"), (False, "disabled"), (True, "unscanned")):
        tag = {"If-Match": anna("GET", "/north")["ETag"]}
        edited = anna("PATCH", "/north", {"enabled": enabled, "why": "disk"}, **tag)
        assert edited.json()["state"] == state
    told = Entry.objects.filter(what__in=["mirror disabled", "mirror enabled"]).order_by("id")
    assert [(entry.what, entry.why) for entry in told] == [
        ("mirror disabled", "disk"),
        ("mirror enabled", "disk"),
    ]


def test_a_bad_edit_changes_nothing(anna: Caller, tree: Tree) -> None:
    anna("POST", "", NEW)
    tag = {"If-Match": anna("GET", "/north")["ETag"]}
    edit = {"country": "FR", "url": "http://10.0.0.1/"}
    assert anna("PATCH", "/north", edit, **tag).status_code == 409
    assert anna("GET", "/north").json()["country"] == "DE"


def test_a_scan_is_asked_for_once_however_often(anna: Caller, tree: Tree) -> None:
    anna("POST", "", NEW)
    assert anna("POST", "/north/scan").status_code == 202
    assert anna("POST", "/north/scan").status_code == 202
    assert jobs().count("mirrors.scan") == 1


@pytest.mark.parametrize("role", [Role.READER, Role.SUBMITTER])
def test_only_coordinators_change_anything(anna: Caller, tree: Tree, role: Role) -> None:
    anna("POST", "", NEW)
    other = Caller(role)
    assert other("GET", "").status_code == 200
    assert other("GET", "/north").status_code == 200
    for method, path, body in [
        ("POST", "", NEW),
        ("PATCH", "/north", {}),
        ("DELETE", "/north", None),
        ("POST", "/north/scan", None),
    ]:
        assert other(method, path, body).status_code == 403, method
    assert Client().get("/api/v1/mirrors").status_code == 401


def test_names_that_nobody_has_are_not_found(anna: Caller, tree: Tree) -> None:
    for name in ("none", "%00", "a%0Ab", "x" * 300, "%F0%9F%90%83"):
        assert anna("GET", f"/{name}").status_code == 404, name
