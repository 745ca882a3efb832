"""The doctor tries things, and for what fails prints the command that mends it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from commonfarm.cli.main import app
from commonfarm.installation import checks, packages
from commonfarm.lib.config import Listen, default

SCRIPT = Path(__file__).parents[2] / "scripts/missing-packages"


def test_a_missing_package_is_named_with_its_purpose_and_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wanted = [*packages.needed(), packages.Package("no-such-package", "run", "this test")]
    monkeypatch.setattr(checks, "needed", lambda: wanted)
    found, mend = checks.packages()
    assert "no-such-package (this test)" in found
    assert mend.endswith("apt-get install --no-install-recommends no-such-package")


def test_setup_and_doctor_agree_on_what_is_missing() -> None:
    said = subprocess.run([SCRIPT], capture_output=True, text=True, check=True).stdout.split()
    assert said == [one.name for one in packages.missing(packages.needed())]
    assert {one.part for one in packages.needed()} == {"run", "demo", "test"}


def test_too_little_room_is_said_with_what_is_lacking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "ENOUGH_DISK", 2**60)
    config = default("test", tmp_path, tmp_path, tmp_path, Listen("127.0.0.1", 1, 2, 3, 4))
    found, mend = checks.disk(config)
    assert f"free at {tmp_path}" in found
    assert "TiB there" in mend


def test_the_command_line_lists_every_check_and_ends_by_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMMONFARM_HOME", str(tmp_path))
    monkeypatch.delenv("COMMONFARM_CONFIG")
    done = CliRunner().invoke(app, ["doctor", "--json"])
    shown = {one["name"]: one for one in json.loads(done.stdout)}
    assert {"packages", "overlayfs", "limits of builds", "users", "disk space"} <= set(shown)
    assert done.exit_code == (0 if all(one["ok"] for one in shown.values()) else 1)
    if os.getuid() == 0:
        assert "memory by" in shown["limits of builds"]["found"]
        assert "signer as commonfarm-signer" in shown["users"]["found"]
    monkeypatch.setattr(checks, "missing", lambda wanted: wanted[:1])
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "mend it: " in done.stdout
