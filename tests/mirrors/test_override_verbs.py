"""Overrides as they are declared and shown: by the API, on the page, by commands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from commonfarm.accounts.interface import ApiToken, Role, User
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import BadInputError
from commonfarm.mirrors.models import Mirror, Override
from commonfarm.mirrors.steps import mapping
from tests.mirrors.conftest import DEB, NOW, Signer, Tree
from tests.mirrors.registered import Browser, Caller
from tests.mirrors.test_api import problem
from tests.mirrors.test_cli import run
from tests.mirrors.test_mapwriter import write
from tests.mirrors.test_overrides import LARGER, NETWORK, mirrors  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db


def test_the_api(
    mirrors: dict[str, Mirror],  # noqa: F811
) -> None:
    anna, ben = Caller("anna", Role.COORDINATOR), Caller("ben", Role.SUBMITTER)
    new = {"network": NETWORK, "mirrors": ["north"], "why": "nearer"}
    for method, path, body in (
        ("GET", "/overrides", None),
        ("POST", "/overrides", new),
        ("DELETE", f"/overrides/{NETWORK}", None),
    ):
        assert ben(method, path, body).status_code == 403
    answer = anna("POST", "/overrides", new)
    assert answer.status_code == 201, answer.content
    shown = answer.json()
    added_at = shown.pop("added_at")
    assert added_at and shown == {
        "network": NETWORK,
        "country": "",
        "mirrors": ["north"],
        "origin": False,
        "why": "nearer",
        "within": "",
        "inside": 0,
        "problem": None,
        "added_by": "user:anna",
    }
    assert problem(anna("POST", "/overrides", new)) == "override-exists"
    assert anna("POST", "/overrides", {"network": LARGER}).status_code == 422
    larger = anna("POST", "/overrides", {"network": LARGER, "origin": True, "why": "x"}).json()
    assert (larger["within"], larger["inside"]) == ("", 1)
    first = anna("GET", "/overrides?limit=1").json()
    assert [one["network"] for one in first["items"]] == [LARGER]
    [last] = anna("GET", f"/overrides?limit=1&after={first['next']}").json()["items"]
    assert (last["network"], last["within"]) == (NETWORK, LARGER)
    assert problem(anna("DELETE", "/overrides/nowhere")) == "bad-input"
    assert problem(anna("DELETE", "/overrides/192.0.2.0/24")) == "no-such-override"
    assert anna("DELETE", f"/overrides/{NETWORK}?why=over").status_code == 204
    assert Entry.objects.get(what="override removed").why == "over"
    # A mirror cannot stand where the overrides do.
    where = {"tree": "demo", "country": "DE", "http": "http://127.0.0.1:9/x"}
    assert anna("POST", "", {"name": "overrides", **where}).status_code == 422


def test_the_page(
    mirrors: dict[str, Mirror],  # noqa: F811
    signer: Signer,
) -> None:
    anna, ben = Browser("anna", Role.COORDINATOR), Browser("ben")
    says = {"network": NETWORK, "mirrors": "south, west", "why": "a <b> cable"}
    assert "Overrides" not in ben.see("/mirrors/explain/")
    assert ben.send("/mirrors/overrides/", **says).status_code == 403
    anna.see("/mirrors/overrides/", 405)
    assert anna.send("/mirrors/overrides/", **says).status_code == 302
    anna.send("/mirrors/overrides/", network=LARGER, country="us", why="far")
    refused = anna.send("/mirrors/overrides/", network="198.51.100.7/24", origin="1", why="x")
    assert refused.status_code == 422
    assert b"the network is 198.51.100.0/24" in refused.content
    page = anna.see("/mirrors/explain/")
    assert page.index("count as in US") < page.index("get south, west first")
    assert f"<code>{LARGER}</code>" in page
    mirrors["south"].remove(NOW, who="user:anna")
    assert "south was removed" in anna.see("/mirrors/explain/")
    write()
    asked = f"/mirrors/explain/?path=demo/{DEB}&from=198.51"
    page = ben.see(f"{asked}.100.7")
    assert f"By the operator's override clients in {NETWORK} get west first." in page
    assert ">west</a></strong>" in page
    assert "count as in US" in ben.see(f"{asked}.1.1")
    assert "this one says itself that it is in DE" in ben.see(f"{asked}.1.1&country=DE")
    anna.send("/mirrors/overrides/", network=NETWORK, action="remove")
    assert not Override.objects.filter(network=NETWORK).exists()


@pytest.mark.django_db(transaction=True)
def test_the_commands(
    request: pytest.FixtureRequest,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    tree: Tree,
    mirrors: dict[str, Mirror],  # noqa: F811
    signer: Signer,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    settings.STATIC_URL = "/unused/"
    live_server = request.getfixturevalue("live_server")
    user = User.add("anna", Role.COORDINATOR, who="test")
    monkeypatch.setenv("COMMONFARM_HUB", live_server.url)
    monkeypatch.setenv("COMMONFARM_TOKEN", ApiToken.make(user, "test", who="test").reveal())

    def override(*arguments: str, **more: Any) -> str:
        return run("override", *arguments, **more)

    two = ["--mirror", "south", "--mirror", "west", "--why", "x"]
    assert override("add", NETWORK, *two) == f"{NETWORK}: get south, west first\n"
    assert override("add", LARGER, "--country", "us", "--why", "x").splitlines() == [
        f"{LARGER}: count as in US",
        "not for the 1 smaller in it that have an override: they go on",
    ]
    said = override("add", "198.51.100.7", "--origin", "--why", "x")
    assert f"it lies in {NETWORK}" in said
    with pytest.raises(BadInputError, match=f"the network is {NETWORK}"):
        override("add", "198.51.100.7/24", "--origin", "--why", "x")
    with pytest.raises(BadInputError, match="give just one"):
        override("add", "192.0.2.0/24", "--why", "x")
    assert override("add", "192.0.2.0/24", "--origin", code=2)
    listed = json.loads(override("list", "--json"))
    assert [one["network"] for one in listed] == [LARGER, NETWORK, "198.51.100.7/32"]
    mirrors["south"].remove(NOW, who="user:anna")
    assert "south was removed" in override("list")
    write()
    folder = ["--map", str(mapping._folder())]
    key = ["--key", str(mapping._config().public_keys / "statements.pub")]
    where = [f"demo/{DEB}", *folder, *key, "--from"]
    said = run("explain", *where, "198.51.100.8")
    assert said.startswith(f"demo/{DEB} is served by west")
    assert f"  by the operator's override clients in {NETWORK} get west first\n" in said
    found = json.loads(run("explain", *where, "198.51.0.1", "--json"))
    assert (found["country"], found["override"]["network"]) == ("US", LARGER)
    assert "served by ourselves" in run("explain", *where, "198.51.100.7", code=1)
    assert "Remove the override" in override("remove", NETWORK, answer="n\n", code=1)
    assert override("remove", "198.51.100.7", "--yes", "--why", "over")
    override("remove", NETWORK, "--yes")
    assert [one.network for one in Override.objects.all()] == [LARGER]
