"""What every context's API shares: problems, permissions, idempotency, pagination, If-Match."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client, RequestFactory
from django.utils import timezone
from ninja import NinjaAPI

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.http.idempotency import KEPT
from commonfarm.http.interface import (
    Paging,
    ProblemError,
    check_if_match,
    etag_of,
    newest_first,
    require,
)
from commonfarm.http.models import IdempotentAnswer
from commonfarm.web.urls import api

pytestmark = pytest.mark.django_db


def user(name: str, role: Role) -> User:
    return User.add(name, role, who="user:root")


def bearer(who: User, **more: str) -> dict[str, str]:
    token = ApiToken.make(who, "test", who="user:root").reveal()
    return {"Authorization": f"Bearer {token}", **more}


def ask(method: str, path: str, headers: dict[str, str], body: Any = None) -> Any:
    send = getattr(Client(), method)
    return send(
        f"/api/v1{path}",
        **({} if body is None else {"data": body, "content_type": "application/json"}),
        headers=headers,
    )


def is_problem(answer: Any, status: int, code: str) -> bool:
    body = answer.json()
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.status_code == body["status"] == status
    assert body["type"] == f"urn:commonfarm:problem:{code}", body
    return bool(body["title"] and body["detail"])


def test_nobody_is_let_in_without_credentials() -> None:
    for path in ("/accounts/me", "/journal", "/live-token?stream=journal"):
        answer = ask("get", path, {})
        assert is_problem(answer, 401, "not-signed-in")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        for wrong in ("Bearer nonsense", "Bearer ", "Basic YTph", "Bearer \x00"):
            answer = ask("get", path, {"Authorization": wrong})
            assert is_problem(answer, 401, "not-signed-in")
            assert "unknown here" in answer.json()["detail"]


def test_a_revoked_token_and_one_of_an_inactive_user_end_at_once() -> None:
    anna = user("anna", Role.READER)
    headers = bearer(anna)
    assert ask("get", "/accounts/me", headers).json()["username"] == "anna"
    ApiToken.objects.update(revoked_at=timezone.now())
    assert ask("get", "/accounts/me", headers).status_code == 401
    headers = bearer(anna)
    User.objects.update(is_active=False)
    assert ask("get", "/accounts/me", headers).status_code == 401


@pytest.mark.parametrize("role", [Role.READER, Role.SUBMITTER, Role.COORDINATOR])
def test_only_an_admin_makes_users_and_links(role: Role) -> None:
    headers = bearer(user("bob", role))
    for answer in (
        ask("post", "/accounts/users", headers, {"username": "eve", "role": "admin"}),
        ask("post", "/accounts/users/bob/sign-in-link", headers),
        ask("get", "/accounts/users", headers),
    ):
        assert is_problem(answer, 403, "role-too-low")
        assert answer.json()["lifted_by"]
    assert not User.objects.filter(username="eve").exists()


def test_a_session_changes_nothing_without_its_secret() -> None:
    root = user("root2", Role.ADMIN)
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(root)
    assert browser.get("/api/v1/accounts/me").status_code == 200
    body = {"data": {"username": "eve"}, "content_type": "application/json"}
    answer = browser.post("/api/v1/accounts/users", **body)  # type: ignore[arg-type]
    assert answer.status_code == 403
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert not User.objects.filter(username="eve").exists()


def test_roles_rise() -> None:
    order = [Role.READER, Role.SUBMITTER, Role.COORDINATOR, Role.ADMIN]
    request = RequestFactory().get("/")
    for held in order:
        request.user = User(username="x", role=held)
        for needed in order:
            if order.index(held) >= order.index(needed):
                assert require(request, needed) is request.user
            else:
                with pytest.raises(Exception, match="ask an admin"):
                    require(request, needed)


def test_addresses_that_are_none_give_problems() -> None:
    headers = bearer(user("anna", Role.READER))
    assert is_problem(ask("get", "/nowhere", headers), 404, "not-found")
    assert is_problem(Client().get("/api/v2/"), 404, "not-found")
    assert is_problem(ask("delete", "/accounts/me", headers), 405, "method-not-allowed")
    assert b"<html" in Client().get("/nowhere").content


def test_input_that_does_not_fit_names_what_is_wrong() -> None:
    headers = bearer(user("root2", Role.ADMIN))
    answer = ask("post", "/accounts/users", headers, {"username": "x", "role": "emperor"})
    assert is_problem(answer, 422, "bad-input")
    assert answer.json()["problems"][0]["where"] == "role"
    answer = ask("post", "/accounts/users", headers, {"username": "../etc"})
    assert is_problem(answer, 422, "bad-input")
    assert "'../etc'" in answer.json()["problems"][0]["what"]
    broken = Client().post(
        "/api/v1/accounts/users", "{", content_type="application/json", headers=headers
    )
    assert is_problem(broken, 400, "bad-request")


def test_a_name_is_taken_once() -> None:
    headers = bearer(user("root2", Role.ADMIN))
    assert ask("post", "/accounts/users", headers, {"username": "eve"}).status_code == 201
    answer = ask("post", "/accounts/users", headers, {"username": "eve"})
    assert is_problem(answer, 409, "name-taken")


def test_a_post_sent_twice_is_carried_out_once() -> None:
    headers = bearer(user("root2", Role.ADMIN), **{"Idempotency-Key": "k1"})
    first = ask("post", "/accounts/users", headers, {"username": "eve"})
    second = ask("post", "/accounts/users", headers, {"username": "eve"})
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json() == second.json()
    other = ask("post", "/accounts/users", headers, {"username": "mallory"})
    assert is_problem(other, 422, "key-reused")
    headers["Idempotency-Key"] = "k" * 201
    answer = ask("post", "/accounts/users", headers, {"username": "x"})
    assert is_problem(answer, 422, "key-too-long")


def test_keys_are_of_one_user_and_need_a_valid_token() -> None:
    headers = bearer(user("root2", Role.ADMIN), **{"Idempotency-Key": "k1"})
    assert ask("post", "/accounts/users", headers, {"username": "eve"}).status_code == 201
    stranger = bearer(user("bob", Role.READER), **{"Idempotency-Key": "k1"})
    assert ask("post", "/accounts/users", stranger, {"username": "eve"}).status_code == 403
    ApiToken.objects.update(revoked_at=timezone.now())
    assert ask("post", "/accounts/users", headers, {"username": "eve"}).status_code == 401


def test_a_refused_post_may_be_sent_again_under_its_key() -> None:
    headers = bearer(user("root2", Role.ADMIN), **{"Idempotency-Key": "k1"})
    path = "/accounts/users/eve/sign-in-link"
    assert is_problem(ask("post", path, headers), 404, "no-such-user")
    user("eve", Role.READER)
    assert ask("post", path, headers).status_code == 201


def test_secrets_are_not_kept_with_the_answers() -> None:
    headers = bearer(user("root2", Role.ADMIN), **{"Idempotency-Key": "k1"})
    answer = ask("post", "/accounts/tokens", headers, {"name": "ci"})
    assert answer.status_code == 201
    token = answer.json()["token"]
    assert ask("get", "/accounts/me", {"Authorization": f"Bearer {token}"}).status_code == 200
    assert not IdempotentAnswer.objects.exists()


def test_answers_are_kept_for_a_day() -> None:
    headers = bearer(user("root2", Role.ADMIN), **{"Idempotency-Key": "old"})
    ask("post", "/accounts/users", headers, {"username": "eve"})
    IdempotentAnswer.objects.update(created_at=timezone.now() - KEPT - timedelta(seconds=1))
    headers["Idempotency-Key"] = "new"
    ask("post", "/accounts/users", headers, {"username": "mallory"})
    assert [row.key for row in IdempotentAnswer.objects.all()] == ["new"]


@pytest.mark.django_db(transaction=True)
def test_two_at_once_under_one_key_are_one() -> None:
    headers = bearer(user("root2", Role.ADMIN), **{"Idempotency-Key": "race"})
    statuses: list[int] = []

    def send() -> None:
        try:
            statuses.append(
                ask("post", "/accounts/users", headers, {"username": "eve"}).status_code
            )
        finally:
            connection.close()

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [201] * 6


def test_pages_stay_right_while_rows_are_added() -> None:
    for number in range(7):
        user(f"u{number}", Role.READER)

    def page(after: int | None) -> dict[str, Any]:
        return newest_first(User.objects.all(), Paging(after=after, limit=3), lambda u: u.username)

    first = page(None)
    user("late", Role.READER)
    second, third = page(first["next"]), None
    third = page(second["next"])
    assert first["items"] == ["u6", "u5", "u4"]
    assert second["items"] == ["u3", "u2", "u1"]
    assert third == {"items": ["u0"], "next": None}


def test_an_edit_names_the_version_it_was_made_from() -> None:
    tag = etag_of({"a": 1})
    assert tag == etag_of({"a": 1}) != etag_of({"a": 2})

    def check(**headers: str) -> None:
        check_if_match(RequestFactory().patch("/", headers=headers), tag)

    check(**{"If-Match": tag})
    check(**{"If-Match": f'"other", {tag}'})
    check(**{"If-Match": "*"})
    for headers, status in (({}, 428), ({"If-Match": '"other"'}, 412), ({"If-Match": ""}, 412)):
        with pytest.raises(ProblemError) as refused:
            check(**headers)
        assert refused.value.status == status


def test_the_description_names_every_operation() -> None:
    answer = Client().get("/api/v1/openapi.json")
    assert answer.status_code == 200
    schema = answer.json()
    assert schema["openapi"].startswith("3.1")
    operations = [
        (path, method, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    ]
    assert isinstance(api, NinjaAPI) and len(operations) >= 7
    for path, method, operation in operations:
        assert operation.get("summary"), (path, method)
        assert "4XX" in operation["responses"], (path, method)
