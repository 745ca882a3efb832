"""What the documents tell people to type works as it stands.

The guides of `test_guides` are left to it: it looks at what is printed, too.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from examples.first.installation import PROGRAM, Installation
from examples.first.story import ENDED, Story

from tests.stories.test_guides import GUIDES

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.story]

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```sh run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = sorted(
    path
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    if path.name not in GUIDES and BLOCK.search(path.read_text())
)


@pytest.fixture(scope="module")
def with_a_build(installation: Installation, home: Path) -> Iterator[Installation]:
    """An installation that has built something, as the documents assume.

    What they hand in and do not wait for is cancelled, lest the next stories wait for it.
    """
    story = Story(installation, home)
    story.submit(print)
    story.wait_for_build(print)
    yield installation
    for build in installation.json("builds"):
        for job in installation.json("build", "show", str(build["id"]))["jobs"]:
            if job["state"] not in ENDED:
                # It may end just now by itself: that is no fault.
                installation.run("build", "cancel", str(job["id"]), accept=(0, 1))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_its_commands_work(with_a_build: Installation, document: Path, home: Path) -> None:
    # Below it the hub's user may read, as in the folder where somebody follows a guide.
    folder = home / f"typed-{document.stem}"
    folder.mkdir(mode=0o755)
    script = "\n".join(BLOCK.findall(document.read_text()))
    environment = with_a_build.environment | {"COMMONFARM_INSTALLATION": with_a_build.name}
    environment["PATH"] = f"{PROGRAM.parent}:{environment['PATH']}"
    done = subprocess.run(
        ["bash", "-euxo", "pipefail", "-c", script],
        cwd=folder,
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
