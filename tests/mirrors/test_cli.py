"""`commonfarm mirror` against a real hub, and `explain` on a map's file alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.lib.errors import BadInputError, NotFoundError, RefusedError, UnreachableError
from commonfarm.mirrors.cli import app
from commonfarm.mirrors.models import Mirror
from commonfarm.redirector.mirror_map import File, write
from tests.mirrors.conftest import Tree
from tests.redirector.world import map_of, public_pem, signed
from tests.redirector.world import mirror as mirror_in_map


def run(*arguments: str, answer: str = "") -> str:
    result = CliRunner().invoke(app, ["mirror", *arguments], input=answer)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def hub(request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Django's test server serves static files by itself, and stumbles where a project has none.
    settings.STATIC_URL = "/unused/"
    live_server = request.getfixturevalue("live_server")
    user = User.add("anna", Role.COORDINATOR, who="test")
    monkeypatch.setenv("COMMONFARM_HUB", live_server.url)
    monkeypatch.setenv("COMMONFARM_TOKEN", ApiToken.make(user, "test", who="test").reveal())


@pytest.mark.django_db(transaction=True)
def test_the_life_of_a_mirror(hub: None, tree: Tree) -> None:
    where = ["--url", "http://127.0.0.1:9/x", "--tree", "demo", "--country", "de"]
    run("add", "north", *where)
    with pytest.raises(RefusedError, match="there is a mirror north already"):
        run("add", "north", *where)
    [listed] = json.loads(run("list", "--json"))
    assert (listed["name"], listed["url"], listed["country"]) == (
        "north",
        "http://127.0.0.1:9/x/",
        "DE",
    )
    assert "north" in run("list") and "unscanned" in run("list")
    run("edit", "north", "--url", "http://127.0.0.1:10/")
    run("scan", "north")
    run("disable", "north", "--why", "moving")
    assert json.loads(run("show", "north", "--json"))["state"] == "disabled"
    run("enable", "north")
    shown = run("show", "north")
    assert "http://127.0.0.1:10/" in shown
    assert "last scan: never" in shown
    with pytest.raises(BadInputError):
        run("edit", "north", "--country", "Germany")
    result = CliRunner().invoke(app, ["mirror", "remove", "north"], input="n\n")
    assert result.exit_code == 1
    assert Mirror.named("north")
    run("remove", "north", "--yes")
    with pytest.raises(NotFoundError, match="there is no mirror 'north'"):
        run("show", "north")


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    key = Ed25519PrivateKey.generate()
    the_map = map_of(
        [mirror_in_map("de"), mirror_in_map("us", country="US"), mirror_in_map("off", problem="x")],
        {"pool/a.deb": File(1, frozenset({0, 1})), "pool/b.deb": File(1, frozenset())},
    )
    write(tmp_path / "map", signed(the_map, key))
    (tmp_path / "key").write_bytes(public_pem(key))
    return ["--map", str(tmp_path / "map"), "--key", str(tmp_path / "key")]


def test_explain_says_what_the_redirector_does(files: list[str]) -> None:
    said = run("explain", "demo/pool/a.deb", "--from", "8.8.8.8", *files)
    assert said.splitlines() == [
        "demo/pool/a.deb is served by us: us (in your country) has it",
        "  2. de (DE)",
        "  not off (DE): x; a scan that finds it well again",
    ]
    shown = json.loads(
        run("explain", "/demo/pool/a.deb", "--from", "193.99.144.80", "--json", *files)
    )
    assert (shown["served_by"], shown["country"], shown["mirrors"]) == ("de", "DE", ["de", "us"])


def test_explain_answers_no_when_we_serve_it_ourselves(files: list[str]) -> None:
    result = CliRunner().invoke(app, ["mirror", "explain", "demo/pool/b.deb", *files])
    assert result.exit_code == 1
    assert "is served by ourselves: no mirror may serve this" in result.output
    assert "not de (DE): its last scan did not see this file; its next scan" in result.output


def test_explain_refuses_what_it_cannot_judge(files: list[str], tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="not an address"):
        run("explain", "demo/x", "--from", "nowhere", *files)
    Path(files[1]).write_bytes(b"spoiled")
    with pytest.raises(UnreachableError, match="cannot be used"):
        run("explain", "demo/x", *files)
