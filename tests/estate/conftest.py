"""An apt of this host that is told only what a test writes, and a folder for an estate."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.estate.test_reader import GOOD


class Apt:
    """The configuration that the host's apt tools read while a test runs, and indices in its lists.

    Nothing is fetched: apt itself names the files under which it would keep an index.
    """

    def __init__(self, home: Path) -> None:
        self.home = home
        for folder in ("sources.list.d", "lists/partial", "conf.d"):
            (home / folder).mkdir(parents=True)
        (home / "status").touch()
        self.conf = home / "apt.conf"
        self.configure()

    def configure(self, *more: str) -> None:
        """Write apt's configuration, with further lines."""
        settings = {
            "Dir::Etc::sourcelist": self.home / "sources.list",
            "Dir::Etc::sourceparts": self.home / "sources.list.d",
            "Dir::Etc::main": self.home / "none",
            "Dir::Etc::parts": self.home / "conf.d",
            "Dir::State::lists": self.home / "lists",
            "Dir::State::status": self.home / "status",
        }
        lines = [f'{key} "{value}";' for key, value in settings.items()]
        self.conf.write_text("\n".join([*lines, *more]) + "\n")

    def write(self, file: str, text: str) -> Path:
        """Write a file of sources: `x.list` or `x.sources`."""
        path = self.home / "sources.list.d" / file
        path.write_text(text)
        return path

    def update(self, origin: str = "Debian", codename: str = "bookworm") -> None:
        """Put an empty index there for each entry; its Release file says whose it is.

        An entry for `X-updates` or `X-security` has that word added to its codename. What is there
        already stays.
        """
        command = ["apt-get", "update", "--print-uris"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        for uri, name in re.findall(r"^'(.*)' (\S+) 0 ", done.stdout, re.MULTILINE):
            file = self.home / "lists" / name.replace("_InRelease", "_Release")
            if file.exists():
                continue
            suffix = re.search(r"/dists/[a-z]+(-[a-z]+)?/", uri)
            of = codename + (suffix[1] or "" if suffix else "")
            release = f"Origin: {origin}\nSuite: some\nCodename: {of}\n"
            file.write_text(release if file.name.endswith("_Release") else "")


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Apt:
    made = Apt(tmp_path / "apt")
    monkeypatch.setenv("APT_CONFIG", str(made.conf))
    return made


@pytest.fixture
def keyring(tmp_path: Path) -> Path:
    file = tmp_path / "keys.gpg"
    file.write_bytes(b"\x99keys")
    return file


@pytest.fixture
def folder(tmp_path: Path, keyring: Path) -> Path:
    """A folder with an estate that can be loaded on any machine."""
    made = tmp_path / "estate"
    made.mkdir()
    write(made, GOOD.replace("    packages:", f"    keyring: {keyring}\n    packages:"))
    return made


def write(folder: Path, text: str) -> None:
    """Make `text` the whole estate."""
    (folder / "estate.yaml").write_text(text)


def change(folder: Path, old: str, new: str) -> None:
    """Write `new` for `old` in the estate."""
    text = (folder / "estate.yaml").read_text()
    assert old in text
    write(folder, text.replace(old, new))
