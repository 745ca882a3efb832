"""What this host's apt is told of Debian is taken from apt itself, whatever shape it has."""

from __future__ import annotations

from pathlib import Path

import pytest

from commonfarm.estate import host_apt
from commonfarm.estate.apt import run, without_password
from commonfarm.estate.host_apt import (
    choose,
    host_architecture,
    host_package_sources,
    host_suite,
)
from commonfarm.lib.errors import RefusedError, UnreachableError
from tests.estate.conftest import Apt

HOST = "http://deb.example.org/debian"
SECURITY = "http://security.example.org/debian-security"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


@pytest.fixture(autouse=True)
def bookworm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be bookworm, whatever runs the tests."""
    monkeypatch.setattr(host_apt, "host_suite", lambda: "bookworm")


def found(apt: Apt) -> list[tuple[str, str, str]]:
    """Return the sources that are taken once all are fetched, as text."""
    apt.update()
    return [(one.uri, one.suite, " ".join(one.components)) for one in host_package_sources()]


def test_one_line_entries(apt: Apt) -> None:
    apt.write(
        "debian.list",
        f"# deb {HOST} trixie main\n"
        f"deb {HOST} bookworm main contrib # all there is\n"
        f"deb-src {HOST} bookworm main\n"
        f"deb [arch={host_architecture()} signed-by={KEYRING}] {SECURITY}/"
        " bookworm-security main\n",
    )
    assert found(apt) == [
        (f"{HOST}/", "bookworm", "main contrib"),
        (f"{SECURITY}/", "bookworm-security", "main"),
    ]
    assert [one.signed_by for one in host_package_sources()] == ["", KEYRING]


def test_deb822_entries(apt: Apt) -> None:
    apt.write(
        "debian.sources",
        f"# Types: deb\n\nTypes: deb deb-src\nURIs: {HOST}\n"
        "# a comment within\nSuites: bookworm bookworm-updates\nComponents: main\n non-free\n"
        f"Signed-By: {KEYRING}\n\n\n"
        f"Types: deb\nURIs: {HOST}\nSuites: bookworm-backports\nComponents: main\n\n"
        f"Enabled: no\nTypes: deb\nURIs: http://off.example.org/debian\nSuites: bookworm\n"
        "Components: main\n",
    )
    assert found(apt) == [
        (f"{HOST}/", "bookworm", "main non-free"),
        (f"{HOST}/", "bookworm-updates", "main non-free"),
    ]
    assert {one.signed_by for one in host_package_sources()} == {KEYRING}


def test_a_key_block_within_an_entry_is_kept_whole(apt: Apt) -> None:
    block = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n AAAA\n =xyz\n"
    block += " -----END PGP PUBLIC KEY BLOCK-----"
    file = apt.write(
        "a.sources",
        f"Types: deb\nURIs: {HOST}\nSuites: bookworm\nComponents: main\nSigned-By:\n {block}\n",
    )
    signed = host_apt.signed_by(f"{file}:1")
    assert signed.strip().splitlines() == [
        "-----BEGIN PGP PUBLIC KEY BLOCK-----",
        "",
        "AAAA",
        "=xyz",
        "-----END PGP PUBLIC KEY BLOCK-----",
    ]


def test_third_parties_are_never_taken(apt: Apt) -> None:
    apt.write("debian.list", f"deb {HOST} bookworm main\n")
    apt.update()
    apt.write(
        "others.list",
        "deb [signed-by=/etc/apt/keyrings/tool.gpg] https://tool.example.com/debian bookworm main\n"
        "deb https://packages.example.com/apt bookworm main\n",
    )
    apt.update(origin="Tool")
    apt.write("shy.list", "deb https://shy.example.com/linux/debian bookworm stable\n")
    apt.update(origin="")
    assert found(apt) == [(f"{HOST}/", "bookworm", "main")]
    _, excluded = choose(host_apt._index_targets(), "bookworm")
    assert sorted(excluded) == [
        "https://packages.example.com/apt/ bookworm is of Tool, not of Debian",
        "https://shy.example.com/linux/debian/ bookworm is of nobody who says so, not of Debian",
        "https://tool.example.com/debian/ bookworm is of Tool, not of Debian",
    ]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("deb cdrom:[Debian GNU/Linux 12]/ bookworm main", "is reached by cdrom:"),
        ("deb file:/srv/debian bookworm main", "is reached by file:, which only this host can"),
        ("deb copy:/srv/debian bookworm main", "is reached by copy:"),
        ("deb mirror+file:/none/debian.list bookworm main", "which cannot be read"),
        ("deb http://user:secret@x.example.org/debian bookworm main", "move it to /etc/apt/auth"),
        ("deb http://deb.example.org/debian bookworm-backports main", "is for bookworm-backports"),
        ("deb https://flat.example.com/debian ./", "is a flat repository"),
        ("", "it has fetched no index"),
    ],
)
def test_without_a_usable_entry_each_is_named_with_why(apt: Apt, entry: str, why: str) -> None:
    apt.write("debian.list", f"{entry}\n")
    apt.update()
    with pytest.raises(RefusedError) as error:
        host_package_sources()
    said = str(error.value)
    assert "this host's apt has nothing usable of Debian bookworm: " in said
    assert why in said
    assert "`apt-get update`, or write the package sources out in the estate" in said
    assert "secret" not in said


def test_an_entry_that_was_never_fetched_is_not_known(apt: Apt) -> None:
    apt.write("debian.list", f"deb {HOST} bookworm main\n")
    with pytest.raises(RefusedError, match="it has fetched no index; add an entry"):
        host_package_sources()


def test_another_release_is_not_taken_for_this_one(apt: Apt) -> None:
    apt.write("debian.list", f"deb {HOST} stable main\n")
    apt.update(codename="trixie")
    with pytest.raises(RefusedError, match="is for trixie, not for bookworm"):
        host_package_sources()


def test_an_alias_is_kept_as_its_codename(apt: Apt) -> None:
    apt.write("debian.list", f"deb {HOST} oldstable main\n")
    assert found(apt) == [(f"{HOST}/", "bookworm", "main")]


def test_a_list_of_mirrors_gives_its_first_http_mirror(apt: Apt, tmp_path: Path) -> None:
    mirrors = tmp_path / "debian.list"
    mirrors.write_text(
        "# ours\nfile:/srv/debian\thigh\nhttp://a.example.org/debian\tpriority:1\nhttp://b/debian\n"
    )
    apt.write("debian.list", f"deb [signed-by={KEYRING}] mirror+file:{mirrors} bookworm main\n")
    assert found(apt) == [("http://a.example.org/debian/", "bookworm", "main")]
    mirrors.write_text("file:/srv/debian\n")
    with pytest.raises(RefusedError, match="which has no HTTP mirror"):
        host_package_sources()


@pytest.mark.parametrize(
    ("text", "suite"),
    [
        ('ID=debian\nVERSION_CODENAME=trixie\nPRETTY_NAME="Debian"\n', "trixie"),
        ("# x\nID='debian'\nVERSION_CODENAME = \"bookworm\"\n", "bookworm"),
    ],
)
def test_the_release_of_this_host(tmp_path: Path, text: str, suite: str) -> None:
    file = tmp_path / "os-release"
    file.write_text(text)
    assert host_suite(file) == suite


@pytest.mark.parametrize(
    "text",
    [
        "ID=fedora\nVERSION_CODENAME=x\nPRETTY_NAME=Fedora\n",
        "ID=debian\n",
        "ID=debian\nVERSION_CODENAME=../x\n",
    ],
)
def test_a_host_that_is_no_release_of_debian_says_so(tmp_path: Path, text: str) -> None:
    file = tmp_path / "os-release"
    file.write_text(text)
    with pytest.raises(RefusedError, match=r"this host is .*; name a suite in place of `host`"):
        host_suite(file)


def test_this_host_itself() -> None:
    assert host_architecture() == run("dpkg", "--print-architecture").strip()
    assert host_architecture().isalnum()


def test_a_tool_that_fails_says_why_without_passwords(apt: Apt) -> None:
    apt.write("bad.list", "deb http://user:secret@x.example.org/debian\n")
    with pytest.raises(UnreachableError, match=r"apt-get failed: Malformed entry 1") as error:
        host_package_sources()
    assert "secret" not in str(error.value)
    with pytest.raises(UnreachableError, match="this needs a Debian host"):
        run("no-such-tool-of-apt")
    assert without_password("http://a:b@c/d e") == "http://c/d e"
