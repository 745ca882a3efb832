"""Of an estate's directory its own plain YAML files are read, and nothing outside of it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from commonfarm.estate.files import MOST_FILES, read_files
from commonfarm.lib.errors import BadInputError


def refused(directory: Path) -> str:
    with pytest.raises(BadInputError) as error:
        read_files(directory)
    return str(error.value)


def test_yaml_files_are_read_in_order_and_others_are_not(tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yml", ".hidden.yaml", "c.txt", "d.yaml~"):
        (tmp_path / name).write_text(name)
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "e.yaml").write_text("e")
    (tmp_path / "link.yaml").symlink_to("b.yaml")
    read = [(text.name, text.data) for text in read_files(tmp_path)]
    assert read == [("a.yml", b"a.yml"), ("b.yaml", b"b.yaml"), ("link.yaml", b"b.yaml")]


def test_the_directory_itself_may_be_a_symlink(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.yaml").write_text("x")
    (tmp_path / "link").symlink_to("real")
    assert [text.name for text in read_files(tmp_path / "link")] == ["a.yaml"]


def test_what_leaves_the_directory_or_is_no_file_is_refused_all_at_once(tmp_path: Path) -> None:
    estate = tmp_path / "estate"
    estate.mkdir()
    (tmp_path / "estate-secret.yaml").write_text("secret")
    (estate / "a.yaml").symlink_to("/etc/passwd")
    (estate / "b.yaml").symlink_to("../estate-secret.yaml")
    (estate / "c.yaml").symlink_to("gone.yaml")
    (estate / "d.yaml").symlink_to("d.yaml")
    (estate / "e.yaml").mkdir()
    os.mkfifo(estate / "f.yaml")
    said = refused(estate).splitlines()
    assert [line.partition(";")[0] for line in said[:3]] == [
        "a.yaml: is a symlink that leaves the directory",
        "b.yaml: is a symlink that leaves the directory",
        "c.yaml: cannot be read: No such file or directory",
    ]
    assert said[3].startswith("d.yaml: cannot be read: ")
    assert said[4:] == [
        "e.yaml: is not a plain file; put a plain file there",
        "f.yaml: is not a plain file; put a plain file there",
    ]


def test_a_name_that_cannot_be_printed_is_refused(tmp_path: Path) -> None:
    for name in (b"a\xff.yaml", b"b\x1b[31m.yaml", b"c\n.yaml", "d\u202e.yaml".encode()):
        (tmp_path / os.fsdecode(name)).touch()
    said = refused(tmp_path).splitlines()
    wrong = "its name has characters that cannot be printed; give it a plain name"
    assert said == [
        rf"'a\udcff.yaml': {wrong}",
        rf"'b\x1b[31m.yaml': {wrong}",
        rf"'c\n.yaml': {wrong}",
        rf"'d\u202e.yaml': {wrong}",
    ]


def test_a_directory_without_files_or_with_too_many(tmp_path: Path) -> None:
    assert refused(tmp_path).endswith("has 0 files *.yaml or *.yml; have 1 to 200")
    for number in range(MOST_FILES + 1):
        (tmp_path / f"{number}.yaml").touch()
    assert "has 201 files" in refused(tmp_path)


def test_what_is_no_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "round").symlink_to("round")
    assert refused(tmp_path / "file").endswith(
        "is no directory; name the directory that holds the YAML files"
    )
    assert "No such file or directory; look at its spelling" in refused(tmp_path / "gone")
    assert "cannot be read: " in refused(tmp_path / "round")
    assert "File name too long" in refused(tmp_path / ("x" * 300))


@pytest.mark.root
def test_what_another_user_may_not_read_names_that_user(tmp_path: Path) -> None:
    home = tmp_path / "mine"
    home.mkdir()
    (home / "a.yaml").write_text("pools: []\n")
    # As deep as pytest's own folders lie, which are its user's alone.
    for folder in [tmp_path, *tmp_path.parents]:
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)

    def check() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "commonfarm.cli.main", "estate", "check", str(home)]
        environment = {**os.environ, "TERM": "dumb", "COLUMNS": "200"}
        return subprocess.run(
            command, user="nobody", group="nogroup", extra_groups=[], cwd="/", env=environment,
            capture_output=True, text=True,
        )  # fmt: skip

    home.chmod(0o700)
    done = check()
    assert done.returncode == 2, done.stderr
    said = "cannot be read: Permission denied; let the user nobody read it"
    assert f"{home}: {said}" in done.stderr
    home.chmod(0o755)
    (home / "a.yaml").chmod(0o600)
    assert f"a.yaml: {said}" in check().stderr
