"""The programs that read our exports and whose files we import, run as their users run them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from commonfarm.estate.facts import Facts
from commonfarm.estate.folder import read_facts
from commonfarm.estate.imports.draft import Draft, as_yaml

PACKAGES = {
    "ansible-inventory": "ansible-core",
    "hbal": "ganeti-htools",
    "hspace": "ganeti-htools",
    "named-checkzone": "bind9-utils",
    "promtool": "prometheus",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
}


def consumer(program: str) -> str:
    """Return where a program is; the test is skipped by name where it is not installed."""
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed: apt-get install {PACKAGES[program]}")
    return found


def run(program: str, *arguments: object, home: Path) -> subprocess.CompletedProcess[str]:
    """Run a program to its end with nothing of this machine's configuration."""
    return subprocess.run(
        [consumer(program), *map(str, arguments)],
        env={"PATH": "/usr/bin:/bin", "HOME": str(home), "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def ansible_list(inventory: Path, home: Path) -> dict[str, Any]:
    """Return what Ansible makes of an inventory; it must warn of nothing."""
    done = run("ansible-inventory", "-i", inventory, "--list", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def imported(draft: Draft, folder: Path) -> Facts:
    """Return the facts of what an import wrote: it must have nothing wrong."""
    folder.mkdir()
    (folder / "imported.yaml").write_text(as_yaml(draft))
    return read_facts(folder)
