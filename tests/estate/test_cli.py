"""`commonfarm estate` as a newcomer meets it, with the mistakes newcomers make."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from pytest_django.live_server_helper import LiveServer

from commonfarm.accounts.interface import ApiToken, Role, User
from tests.estate.test_reader import GOOD

EXAMPLE = Path(__file__).parents[2] / "examples" / "first"


def commonfarm(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "commonfarm.cli.main", *map(str, arguments)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_the_example_has_nothing_wrong_and_no_hub_is_needed() -> None:
    nowhere = {"COMMONFARM_HUB": "http://127.0.0.1:9", "COMMONFARM_TOKEN": "x"}
    done = commonfarm("estate", "check", EXAMPLE, **nowhere)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "nothing wrong: hosts 1, pools 1, targets 1, projects 1, trees 1\n"
    told = json.loads(commonfarm("estate", "check", EXAMPLE, "--json").stdout)
    assert told["assumptions"] == []
    assert {section: number for section, number in told["counts"].items() if number} == {
        "hosts": 1, "pools": 1, "targets": 1, "projects": 1, "trees": 1,
    }  # fmt: skip


def test_mistakes_end_by_2_and_say_file_line_column_what_and_what_to_do(folder: Path) -> None:
    text = GOOD.replace("suite: bookworm\n    arch", "suit: bookworm\n    arch")
    (folder / "estate.yaml").write_text(text.replace("repository: demo", "repository: dem"))
    (folder / "more.yml").write_text("hosts:\n\t- name: x\n")
    done = commonfarm("estate", "check", folder)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        "estate.yaml:9:5: `suite` is missing; add `suite:`",
        "estate.yaml:10:5: unknown key `suit`; did you mean `suite`?",
        "estate.yaml:19:17: there is no repository `dem`; did you mean `demo`?",
        "more.yml:2:1: a tab stands where YAML wants spaces; use spaces",
    ]


def test_a_folder_that_is_none_is_said_plainly(folder: Path, tmp_path: Path) -> None:
    for directory, said in (
        (tmp_path / "gone", "cannot be read: No such file or directory; look at its spelling"),
        (folder / "estate.yaml", "is no directory; name the directory that holds the YAML files"),
        (tmp_path, "has 0 files *.yaml or *.yml; have 1 to 200"),
    ):
        done = commonfarm("estate", "check", directory)
        assert done.returncode == 2
        assert done.stderr.startswith(f"{directory}: {said}")
        assert "Traceback" not in done.stderr


def test_a_wrong_command_is_bad_input_too() -> None:
    assert commonfarm("estate", "chekc").returncode == 2
    assert commonfarm("estate", "check").returncode == 2
    done = commonfarm("estate", "--help")
    assert done.returncode == 0
    assert all(verb in done.stdout for verb in ("check", "load", "show"))


def test_without_a_hub_loading_could_not_reach_it(folder: Path) -> None:
    nowhere = {"COMMONFARM_HUB": "http://127.0.0.1:9", "COMMONFARM_TOKEN": "x"}
    for arguments in (("load", folder), ("show",)):
        done = commonfarm("estate", *arguments, **nowhere)
        assert done.returncode == 3
        assert "the hub at http://127.0.0.1:9 does not answer" in done.stderr


@pytest.mark.django_db(transaction=True)
def test_an_estate_is_loaded_and_shown(live_server: LiveServer, folder: Path) -> None:
    user = User.add("anna", Role.ADMIN, who="test")
    token = ApiToken.make(user, "test", who="test").reveal()
    hub = {"COMMONFARM_HUB": live_server.url, "COMMONFARM_TOKEN": token}
    done = commonfarm("estate", "load", folder, **hub)
    assert done.returncode == 0, done.stderr
    assert "target bookworm-amd64: new\n" in done.stdout
    assert f"{folder} is in force since 20" in done.stdout
    again = json.loads(commonfarm("estate", "load", folder, "--json", **hub).stdout)
    assert again["who"] == "user:anna"
    shown = commonfarm("estate", "show", **hub).stdout
    assert "  bookworm-amd64\n    declared_suite: bookworm\n" in shown
    assert "    package_sources: https://deb.example.org/debian/ bookworm main\n" in shown
    assert "    signed_sources_only: no\n" in shown
    assert "    repositories: demo pub/demo valid for 7 d\n" in shown
    estate = json.loads(commonfarm("estate", "show", "--json", **hub).stdout)
    assert [one["name"] for one in estate["trees"][0]["repositories"]] == ["demo"]
    (folder / "estate.yaml").write_text("pools: [{name: X, architecture: amd64}]\n")
    done = commonfarm("estate", "load", folder, **hub)
    assert done.returncode == 2
    assert done.stderr.startswith("estate.yaml:1:16: 'X' is not a name; use up to 63 small")
    reader = ApiToken.make(User.add("ben", Role.READER, who="test"), "t", who="test").reveal()
    done = commonfarm("estate", "load", folder, **(hub | {"COMMONFARM_TOKEN": reader}))
    assert done.returncode == 1
    assert "admin" in done.stderr
