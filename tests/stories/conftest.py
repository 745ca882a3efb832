"""One running installation serves all stories of a test run."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.first.command import as_root
from examples.first.installation import Installation
from examples.first.story import ESTATE

from commonfarm.installation import leftovers


def remove_left(top: Path) -> None:
    """Remove what runs that were killed left in `top`, unless something lives or is mounted there:
    an `up` whose tests were killed needs a moment to end.
    """
    mounted = Path("/proc/self/mounts").read_text()
    for left in top.glob("cf-story-*-*"):
        maker = left.name.split("-")[2]
        lives = Path("/proc", maker).exists() or leftovers.pids(
            leftovers.carries(left / "farm/state/story")
        )
        if not lives and f" {left}/" not in mounted:
            subprocess.run(as_root("rm", "-rf", "--one-file-system", left), check=False)


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """A folder that the processes of every user may pass through."""
    remove_left(Path(tempfile.gettempdir()))
    path = Path(tempfile.mkdtemp(prefix=f"cf-story-{os.getpid()}-"))
    path.chmod(0o755)
    yield path
    subprocess.run(as_root("rm", "-rf", "--one-file-system", path), check=False)


@pytest.fixture(scope="session")
def installation(home: Path) -> Iterator[Installation]:
    """All processes of one installation, with the example's estate and a local builder."""
    running = Installation("story", {"COMMONFARM_HOME": str(home / "farm")})
    running.up(ESTATE, say=print)
    yield running
    running.down()
    left = subprocess.run(["findmnt", "-rno", "TARGET"], capture_output=True, text=True)
    assert str(home) not in left.stdout, "mounts were left behind"
