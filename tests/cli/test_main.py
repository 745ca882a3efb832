"""The command line's frame: quick, and clear when something is wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def commonfarm(*arguments: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does, with nothing configured but what is below `home`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("COMMONFARM_")}
    kept.pop("DJANGO_SETTINGS_MODULE", None)
    return subprocess.run(
        [sys.executable, "-m", "commonfarm.cli.main", *arguments],
        env=kept | {"COMMONFARM_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_help_loads_neither_django_nor_other_heavy_parts(tmp_path: Path) -> None:
    program = (
        "import sys; sys.argv = ['commonfarm', '--help']\n"
        "from commonfarm.cli.main import app\n"
        "try: app()\n"
        "except SystemExit as end: assert not end.code\n"
        "heavy = {'django', 'granian', 'psycopg', 'procrastinate', 'ortools', 'aiohttp'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "LOADED []" in done.stdout
    for command in ("up", "down", "status", "doctor", "hub", "scheduler", "redirector"):
        assert f" {command} " in done.stdout
    assert " prepare " not in done.stdout


def test_an_unknown_installation_is_named_with_those_there_are(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    for name in ("production", "testing"):
        (tmp_path / "etc" / f"{name}.toml").write_text("")
    done = commonfarm("status", home=tmp_path)
    assert done.returncode == 1
    assert "production, testing" in done.stderr
    assert "--installation" in done.stderr
    done = commonfarm("--installation", "tessting", "status", home=tmp_path)
    assert done.returncode == 1
    assert "'tessting'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_broken_configuration_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc" / "only.toml"
    file.write_text('name = "only"\npaths = {\n')
    done = commonfarm("status", home=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"{file}:")


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "etc").write_text("a file where a folder should be")
    done = commonfarm("up", home=tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path}/etc: File exists\n"


def test_bad_usage_ends_with_2(tmp_path: Path) -> None:
    assert commonfarm("fly", home=tmp_path).returncode == 2
