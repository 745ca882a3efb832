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
from commonfarm.mirrors.models import Mirror, State
from commonfarm.mirrors.verbs.registry import STATES
from commonfarm.redirector.reasons import NOT_IN_MAP
from tests.mirrors.registered import FILES, published, registered, scanned
from tests.redirector.world import file_of, mirror, public_pem, tree_of, write_map


def run(*arguments: str, answer: str = "", code: int = 0) -> str:
    result = CliRunner().invoke(app, ["mirror", *arguments], input=answer)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def hub(request: pytest.FixtureRequest, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Django's test server serves static files by itself, and stumbles where a project has none.
    settings.STATIC_URL = "/unused/"
    live_server = request.getfixturevalue("live_server")
    user = User.add("anna", Role.ADMIN, who="test")
    monkeypatch.setenv("COMMONFARM_HUB", live_server.url)
    monkeypatch.setenv("COMMONFARM_TOKEN", ApiToken.make(user, "test", who="test").reveal())
    published()


@pytest.mark.django_db(transaction=True)
def test_the_life_of_a_mirror(hub: None, tmp_path: Path) -> None:
    where = ["--http", "http://127.0.0.1:9/x", "--tree", "demo", "--country", "de"]
    said = run("add", "north", *where)
    token = Mirror.named("north").token
    assert said.splitlines() == [
        "north is registered",
        f"Show that you run it: put the line {token} into",
        "  http://127.0.0.1:9/x/commonfarm-mirror.txt",
    ]
    with pytest.raises(RefusedError, match="there is a mirror north already"):
        run("add", "north", *where)
    [listed] = json.loads(run("list", "--json"))
    assert (listed["name"], listed["http"], listed["country"]) == (
        "north",
        "http://127.0.0.1:9/x/",
        "DE",
    )
    assert "north" in run("list") and "unproved" in run("list")
    with pytest.raises(RefusedError, match="not looked at"):
        run("scan", "north")
    run("prove", "north")
    assert "it is unprobed" in run("vouch", "north", "--why", "known")
    for verb in ("scan", "probe", "audit"):
        assert f"north will be {verb}" in run(verb, "north")
    run("disable", "north", "--why", "moving")
    assert json.loads(run("show", "north", "--json"))["state"] == "disabled"
    run("enable", "north")
    with pytest.raises(BadInputError):
        run("edit", "north", "--country", "Germany")
    assert "Remove the mirror north at http" in run("remove", "north", answer="n\n", code=1)
    assert Mirror.named("north")
    run("remove", "north", "--yes")
    with pytest.raises(NotFoundError, match="there is no mirror 'north'"):
        run("show", "north")


@pytest.mark.django_db(transaction=True)
def test_every_field_can_be_given_and_emptied(hub: None, tmp_path: Path) -> None:
    logo = tmp_path / "logo.png"
    logo.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    run(
        *("add", "south", "--tree", "demo", "--country", "fr", "--vouch"),
        *("--https", "https://south.example.org/pub", "--rsync", "rsync://south.example.org/pub"),
        *("--subtree", "activities", "--latitude", "48.8", "--longitude", "2.3", "--as", "1653"),
        *("--prefix", "192.0.2.0/24", "--prefix", "198.51.100.0/24", "--only-country", "fr"),
        *("--only-network", "192.0.0.0/8", "--weight", "50", "--budget", "500 GB"),
        *("--sponsor", "Sud", "--sponsor-url", "https://sud.example.org/", "--logo", str(logo)),
        *("--push", "webhook", "--push-to", "https://south.example.org/pull"),
    )
    made = Mirror.named("south")
    assert (made.subtree, made.as_number, made.weight) == ("activities", 1653, 50)
    assert (made.budget_bytes, len(made.prefixes)) == (500 * 10**9, 2)
    assert (made.push_to, made.logo is not None) == ("https://south.example.org/pull", True)
    shown = run("show", "south")
    assert "budget:     500 GB a day" in shown
    assert "run by:     anna" in shown
    assert "push:       webhook to https://south.example.org/pull" in shown
    scanned(made, 2, files_expected=14, missing=[f"{number}.xo" for number in range(12)])
    assert "8.xo, 9.xo, and 2 more\n" in run("show", "south")
    run(
        *("edit", "south", "--prefix", "", "--only-country", "", "--budget", "none"),
        *("--push", "none", "--subtree", ""),
    )
    made = Mirror.named("south")
    assert (made.prefixes, made.only_countries, made.budget_bytes) == ([], [], 0)
    assert (made.push, made.push_to, made.subtree) == ("", "", "")
    for wrong, told in (
        (("--budget", "much"), "is not a size"),
        (("--weight", "0"), "0 is no weight"),
        (("--as", "-3"), "-3 is no number of an AS"),
        ((), "nothing is to be changed"),
    ):
        with pytest.raises(BadInputError, match=told):
            run("edit", "south", *wrong)
    with pytest.raises(RefusedError, match="south is in no quarantine"):
        run("lift-quarantine", "south", "--why", "x")


@pytest.mark.django_db(transaction=True)
def test_a_logo_that_is_refused_keeps_no_mirror_from_being_registered(
    hub: None, tmp_path: Path
) -> None:
    (tmp_path / "x.png").write_text("no picture")
    where = ["--http", "http://127.0.0.1:9/x", "--tree", "demo", "--country", "de"]
    with pytest.raises(BadInputError, match="it is no picture"):
        run("add", "north", *where, "--logo", str(tmp_path / "x.png"))
    assert Mirror.named("north").logo is None


@pytest.mark.django_db(transaction=True)
def test_the_list_begins_with_those_that_need_a_person(hub: None) -> None:
    tree = published("other")
    registered(tree, f"{'a-name-of-many-letters.' * 4}x", "DE")
    for number in range(3):
        registered(tree, f"m{number}", "ABC"[number] + "T", probe_problem="")
    registered(tree, "bad", "ZW", answers=0, probe_problem="a page of HTML\x1b[31m")
    said = run("list", "--tree", "other").splitlines()
    assert said[1].split()[:3] == ["bad", "down", "ZW"]
    assert "\x1b[31m" not in said[1]
    assert said[-1] == "5 mirrors, 0 up"
    assert "…" not in "".join(said)  # a name that is cut can be used for nothing
    assert json.loads(run("list", "--state", "down", "--json"))[0]["name"] == "bad"
    assert run("list", "--mine") == "no such mirror\n0 mirrors, 0 up\n"
    for wrong, error in (
        (("--state", "dwn"), BadInputError),
        (("--country", "Germany"), BadInputError),
        (("--tree", "othr"), NotFoundError),
    ):
        with pytest.raises(error):
            run("list", *wrong)


def test_every_state_can_be_asked_for() -> None:
    assert {*STATES, State.REMOVED} == set(State)


@pytest.mark.django_db(transaction=True)
def test_redirectors_elsewhere_get_a_token(hub: None) -> None:
    token = run("redirector", "add", "edge").strip()
    assert token.startswith("cf_counts_")
    assert "edge" in run("redirector", "list") and "never" in run("redirector", "list")
    run("redirector", "remove", "edge", "--yes")
    assert json.loads(run("redirector", "list", "--json")) == []


TURTLE, PAINT, ISO = (f"demo/{path}" for path in FILES)


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    key = Ed25519PrivateKey.generate()
    write_map(
        tmp_path / "map",
        key,
        [mirror("de"), mirror("us", country="US"), mirror("off", problem="down: 404")],
        {
            TURTLE: file_of(b"x", 0, 1, 2),
            PAINT: file_of(b"x"),
            ISO: file_of(b"x", 0, mirrors_from=1_800_000_000),
        },
        trees=[tree_of(aliases={"latest": "activities/4"})],
    )
    (tmp_path / "key").write_bytes(public_pem(key))
    return ["--map", str(tmp_path / "map"), "--key", str(tmp_path / "key")]


def test_explain_says_what_the_redirector_does(files: list[str]) -> None:
    said = run("explain", TURTLE, "--from", "8.8.8.8", *files)
    first, second, third = said.splitlines()
    assert first == f"{TURTLE} is served by us: us (US) has it: in the same country"
    assert second.startswith("  2. de (DE): ") and second.endswith(" km away")
    assert third == "  not off (DE): down: 404; a probe and a scan that find it well again"
    shown = json.loads(
        run("explain", "/demo/latest/Turtle.xo", "--from", "193.99.144.80", "--json", *files)
    )
    assert (shown["served_by"], shown["country"], shown["path"]) == ("de", "DE", TURTLE)
    assert [one["mirror"] for one in shown["mirrors"]] == ["de", "us"]
    assert shown["mirrors"][0]["url"] == "http://de.example.org/demo/activities/4/Turtle.xo"
    assert shown["left_out"][0]["code"] == "out-of-service"


def test_explain_says_that_there_is_no_such_tree(files: list[str]) -> None:
    with pytest.raises(BadInputError, match=r"'dem' is no tree .* did you mean `demo`"):
        run("explain", "dem/x", *files)


def test_explain_takes_country_scheme_and_time_instead(files: list[str]) -> None:
    assert "served by us" in run("explain", TURTLE, "--country", "us", *files)
    said = run("explain", TURTLE, "--https", *files, code=1)
    assert "it has no https, and you came by https" in said
    assert "this file is new" in run("explain", ISO, "--at", "2026-11-21T12:00", *files, code=1)
    assert "served by de" in run("explain", ISO, "--at", "2027-02-01", *files)


def test_explain_answers_no_when_we_serve_it_ourselves(files: list[str]) -> None:
    said = run("explain", PAINT, *files, code=1)
    assert "is served by ourselves: no mirror may serve this" in said
    assert "not de (DE): its last scan did not see this file; its next scan" in said
    said = run("explain", "demo/none", *files, code=1)
    assert said.startswith(f"demo/none is served by ourselves: {NOT_IN_MAP}\n")


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("--from", "nowhere", "not an address"),
        ("--country", "Germany", "did you mean DE?"),
        ("--as", "-1", "no number of an AS"),
        ("--at", "noon", "no time"),
    ],
)
def test_explain_refuses_what_it_cannot_judge(
    files: list[str], option: str, value: str, why: str
) -> None:
    with pytest.raises(BadInputError, match=why):
        run("explain", TURTLE, option, value, *files)


def test_explain_needs_a_map_that_is_signed(files: list[str]) -> None:
    (Path(files[1]) / "current").write_bytes(b"spoiled")
    with pytest.raises(UnreachableError, match="cannot be used"):
        run("explain", TURTLE, *files)
