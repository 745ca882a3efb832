"""Who may have a repository followed, and how the command tells of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from procrastinate.contrib.django.models import ProcrastinateJob
from pytest_django.live_server_helper import LiveServer

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.estate import tasks
from commonfarm.estate.following import follow
from commonfarm.estate.models import Following
from tests.estate.following.helpers import (
    Clock,
)
from tests.estate.repositories import Repository

pytestmark = pytest.mark.django_db


def client(role: Role) -> Client:
    user = User.add(f"a-{role}", role, who="test")
    token = ApiToken.make(user, "test", who="test").reveal()
    return Client(headers={"Authorization": f"Bearer {token}"})


def ask(by: Client, body: dict[str, str], **more: Any) -> tuple[int, Any]:
    path = "/api/v1/estate/following"
    answer = by.post(path, json.dumps(body), content_type="application/json", **more)
    return answer.status_code, answer.json()


def test_an_admin_says_what_is_followed(upstream: Repository, clock: Clock) -> None:
    admin, reader = client(Role.ADMIN), client(Role.READER)
    assert reader.get("/api/v1/estate/following").status_code == 404
    assert ask(client(Role.COORDINATOR), {"url": upstream.url})[0] == 403
    status, made = ask(admin, {"url": upstream.url})
    assert (status, made["branch"], made["tip"]) == (200, "main", "")
    assert ProcrastinateJob.objects.filter(task_name="estate.follow").count() == 1
    tasks.follow()
    shown = reader.get("/api/v1/estate/following").json()
    assert shown["tip"] == upstream.git("rev-parse", "HEAD")
    (load,) = reader.get("/api/v1/estate/loads").json()["items"]
    assert (load["commit"], load["title"]) == (shown["tip"], "Describe the anvil")
    assert reader.delete("/api/v1/estate/following").status_code == 403
    assert admin.delete("/api/v1/estate/following").status_code == 204
    assert admin.delete("/api/v1/estate/following").status_code == 404


def test_a_repository_of_this_machine_is_followed_from_here_only(upstream: Repository) -> None:
    admin = client(Role.ADMIN)
    away = {"headers": {"X-Forwarded-For": "192.0.2.1"}}
    status, said = ask(admin, {"url": upstream.url}, **away)
    assert (status, said["type"]) == (403, "urn:commonfarm:problem:not-from-here")
    assert ask(admin, {"url": "https://git.example.org/estate"}, **away)[0] == 200


@pytest.mark.parametrize(
    "body",
    [
        {"url": "ext::sh -c id"},
        {"url": "/etc"},
        {"url": "https://a:b@example.org/x"},
        {"url": "https://example.org/x", "branch": "--help"},
        {"url": "https://example.org/x", "folder": "../x"},
        {"url": "https://example.org/x\0"},
    ],
)
def test_what_is_not_followed(body: dict[str, str]) -> None:
    assert ask(client(Role.ADMIN), body)[0] == 422
    assert Following.current() is None


@pytest.mark.django_db(transaction=True)
def test_the_command_waits_until_it_is_known_how_it_went(
    upstream: Repository, live_server: LiveServer
) -> None:
    token = ApiToken.make(User.add("chief", Role.ADMIN, who="test"), "test", who="test").reveal()
    to_hub = {"COMMONFARM_HUB": live_server.url, "COMMONFARM_TOKEN": token}

    def told(*arguments: str, fetched: bool = False) -> tuple[int, list[str]]:
        running = subprocess.Popen(
            [sys.executable, "-m", "commonfarm.cli.main", "estate", "follow", *arguments],
            env=os.environ | to_hub,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        while fetched and running.poll() is None:
            follow(lambda: datetime.now(UTC))
        return running.wait(30), (running.communicate()[0]).splitlines()

    code, lines = told(upstream.url, fetched=True)
    tip = upstream.git("rev-parse", "HEAD")
    assert (code, lines) == (
        0,
        [f"follows {upstream.url}, branch main", f"commit {tip[:12]} is in force"],
    )
    bad = upstream.commit({"estate.yaml": "hosts: 7\n"}, "Break it")
    code, lines = told(upstream.url, fetched=True)
    assert (code, lines[1]) == (2, f"commit {bad[:12]} (Break it) is not loaded:")
    assert lines[2].startswith("  estate.yaml:1:8: `hosts` is")
    assert told("--stop") == (0, ["the estate follows nothing any more"])
