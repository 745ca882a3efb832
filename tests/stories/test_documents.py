"""What the documents tell people to type works as it stands."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from examples.first.installation import PROGRAM, Installation
from examples.first.story import Story

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.story]

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = sorted(
    path
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if BLOCK.search(path.read_text())
)


@pytest.fixture(scope="module")
def with_a_build(installation: Installation, home: Path) -> Installation:
    """An installation that has built something, as the documents assume."""
    story = Story(installation, home)
    story.submit(print)
    story.wait_for_build(print)
    return installation


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_commands_work(with_a_build: Installation, document: Path, tmp_path: Path) -> None:
    script = "\n".join(BLOCK.findall(document.read_text()))
    environment = with_a_build.environment | {"COMMONFARM_INSTALLATION": with_a_build.name}
    environment["PATH"] = f"{PROGRAM.parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    missing = re.search(r"Failed to fetch (\S+)\s+404", done.stderr)
    if done.returncode and missing and "/hello_" in missing[1]:
        pytest.skip(f"this machine's mirror lacks {missing[1]}")
    assert done.returncode == 0, done.stdout + done.stderr
