"""Who may load and see the estate, from where, and what is answered to mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.estate.interface import Load

pytestmark = pytest.mark.django_db


def client(role: Role) -> Client:
    user = User.add(f"a-{role}", role, who="test")
    token = ApiToken.make(user, "test", who="test").reveal()
    return Client(headers={"Authorization": f"Bearer {token}"})


def load(by: Client, directory: object, **more: Any) -> tuple[int, Any]:
    body = json.dumps({"directory": str(directory)})
    answer = by.post("/api/v1/estate/load", body, content_type="application/json", **more)
    return answer.status_code, answer.json()


def test_an_admin_loads_and_a_reader_sees(folder: Path) -> None:
    status, made = load(client(Role.ADMIN), folder)
    assert status == 200, made
    assert (made["who"], made["origin"], len(made["digest"])) == (
        "user:a-admin",
        str(folder),
        64,
    )
    assert "target bookworm-amd64: new" in made["changes"]
    reader = client(Role.READER)

    def get(what: str) -> Any:
        return reader.get(f"/api/v1/estate/{what}").json()

    assert get("hosts") == [{"name": "anvil", "architecture": "amd64", "pool": "local"}]
    assert get("pools") == [{"name": "local", "architecture": "amd64"}]
    [target] = get("targets")
    assert (target["declared_suite"], target["suite"]) == ("bookworm", "bookworm")
    assert get("projects") == [
        {"name": "first", "targets": ["bookworm-amd64"], "repository": "demo"}
    ]
    assert get("trees") == [
        {
            "name": "pub",
            "repositories": [{"name": "demo", "path": "pub/demo", "valid_seconds": 604800}],
        }
    ]


@pytest.mark.parametrize("role", [Role.COORDINATOR, Role.SUBMITTER, Role.READER])
def test_nobody_but_an_admin_loads(folder: Path, role: Role) -> None:
    assert load(client(role), folder)[0] == 403
    assert load(Client(), folder)[0] == 401
    assert not Load.objects.exists()


@pytest.mark.parametrize(
    "more",
    [
        {"REMOTE_ADDR": "192.0.2.1"},
        {"REMOTE_ADDR": "2001:db8::1"},
        {"REMOTE_ADDR": ""},
        {"headers": {"X-Forwarded-For": "192.0.2.1"}},
        {"headers": {"Forwarded": "for=127.0.0.1"}},
    ],
)
def test_it_is_loaded_from_this_machine_only(folder: Path, more: dict[str, Any]) -> None:
    admin = client(Role.ADMIN)
    status, said = load(admin, folder, **more)
    assert (status, said["type"]) == (403, "urn:commonfarm:problem:not-from-here")
    assert said["lifted_by"] == "run `commonfarm estate load` there"
    assert not Load.objects.exists()
    assert load(admin, folder, REMOTE_ADDR="::1")[0] == 200


def test_every_fault_is_answered(folder: Path) -> None:
    (folder / "estate.yaml").write_text("pools:\n  - name: X\n  - name: b\n")
    status, said = load(client(Role.ADMIN), folder)
    assert status == 422
    assert [(one["file"], one["line"], one["column"]) for one in said["problems"]] == [
        ("estate.yaml", 2, 5),
        ("estate.yaml", 2, 11),
        ("estate.yaml", 3, 5),
    ]


@pytest.mark.parametrize(
    "directory", ["relative", "", "a\0b", "/" + "x" * 600, "/none", "/etc/passwd", "/proc/self/fd"]
)
def test_what_is_no_directory_of_an_estate(directory: str) -> None:
    status, said = load(client(Role.ADMIN), directory)
    assert (status, said["status"]) == (422, 422)
    assert not Load.objects.exists()
