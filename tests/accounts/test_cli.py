"""The command line of the accounts, against a real hub."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from django.test import Client

from commonfarm.accounts.interface import ApiToken, Role, User
from tests.web.served import served

pytestmark = pytest.mark.django_db(transaction=True)


def run(hub: str, token: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "commonfarm.cli.main", *arguments],
        env={**os.environ, "COMMONFARM_HUB": hub, "COMMONFARM_TOKEN": token},
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )


def token_of(name: str, role: Role) -> str:
    return ApiToken.make(User.add(name, role, who="user:root"), "test", who="user:root").reveal()


def test_a_user_is_added_listed_and_let_in(tmp_path: Path) -> None:
    admin, reader = token_of("chief", Role.ADMIN), token_of("guest", Role.READER)
    with served(tmp_path, "hub") as site:
        added = run(site.hub, admin, "user", "add", "eve", "--role", "submitter")
        assert added.returncode == 0, added.stderr
        assert "eve is a submitter now" in added.stdout

        listed = run(site.hub, admin, "user", "list", "--json")
        roles = {one["username"]: one["role"] for one in json.loads(listed.stdout)}
        assert roles == {"chief": "admin", "guest": "reader", "eve": "submitter"}
        assert "never signed in" in run(site.hub, admin, "user", "list").stdout

        link = run(site.hub, admin, "user", "sign-in-link", "eve").stdout.strip()
        assert link.startswith(f"{site.hub}/sign-in/?token=cf_link_")
        as_json = run(site.hub, admin, "user", "sign-in-link", "eve", "--json")
        assert json.loads(as_json.stdout)["url"] != link
        browser = Client()
        answer = browser.post("/sign-in/", {"token": link.partition("token=")[2]})
        assert answer.status_code == 302
        assert browser.get("/api/v1/accounts/me").json()["username"] == "eve"

        taken = run(site.hub, admin, "user", "add", "eve")
        assert (taken.returncode, taken.stdout) == (1, "")
        assert "there is a user eve already" in taken.stderr
        nobody = run(site.hub, admin, "user", "sign-in-link", "nobody")
        assert nobody.returncode == 1 and "there is no user" in nobody.stderr
        wrong = run(site.hub, admin, "user", "add", "No Good")
        assert wrong.returncode == 2 and "not allowed" in wrong.stderr
        refused = run(site.hub, reader, "user", "add", "mallory")
        assert refused.returncode == 1 and "ask an admin for the role" in refused.stderr
        stranger = run(site.hub, "cf_api_nonsense", "user", "list")
        assert stranger.returncode == 1 and "nobody is signed in" in stranger.stderr
    gone = run(site.hub, admin, "user", "list")
    assert gone.returncode == 3 and "does not answer" in gone.stderr


def test_roles_closed_accounts_and_tokens(tmp_path: Path) -> None:
    admin, guest = token_of("chief", Role.ADMIN), token_of("guest", Role.READER)
    with served(tmp_path, "hub") as site:
        raised = run(site.hub, admin, "user", "role", "guest", "submitter")
        assert (raised.returncode, raised.stdout) == (0, "guest is a submitter now.\n")
        alone = run(site.hub, admin, "user", "role", "chief", "reader")
        assert alone.returncode == 1 and "the only admin" in alone.stderr
        unknown = run(site.hub, admin, "user", "role", "guest", "king")
        assert unknown.returncode == 2

        made = run(site.hub, guest, "token", "make", "laptop").stdout.strip()
        assert made.startswith("cf_api")
        mine = json.loads(run(site.hub, made, "token", "list", "--json").stdout)
        assert [(one["user"], one["name"]) for one in mine] == [
            ("guest", "test"),
            ("guest", "laptop"),
        ]
        assert "laptop" in run(site.hub, admin, "token", "list", "--user", "guest").stdout
        number = str(mine[1]["id"])
        assert run(site.hub, guest, "token", "revoke", number).returncode == 0
        gone = run(site.hub, made, "token", "list")
        assert gone.returncode == 1 and "nobody is signed in" in gone.stderr
        other = run(site.hub, admin, "token", "make", "for a robot", "--user", "guest", "--json")
        robot = json.loads(other.stdout)["token"]

        assert run(site.hub, admin, "user", "deactivate", "guest").returncode == 0
        for ended in (guest, robot):
            assert run(site.hub, ended, "token", "list").returncode == 1
        assert "(not active)" in run(site.hub, admin, "user", "list").stdout
        back = run(site.hub, admin, "user", "activate", "guest")
        assert "may sign in again, as submitter" in back.stdout
        assert run(site.hub, guest, "token", "list").returncode == 1
