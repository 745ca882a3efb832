"""The guides to an estate, as a newcomer follows them: each command prints what is shown there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from examples.first.installation import PROGRAM

pytestmark = pytest.mark.story

GUIDES = ["describe-your-estate.md"]
HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
STEP = re.compile(r"^```sh run\n(.*?)^```$(?:\n+```\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
GAP = "…"


def follows(shown: str, printed: str) -> str | None:
    """Return the first line of `shown` that was not printed where it should be; `…` is a gap."""
    lines, at, gap = printed.splitlines(), 0, False
    for line in shown.splitlines():
        if line == GAP:
            gap = True
            continue
        rest = lines[at:] if gap else lines[at : at + 1]
        if line not in rest:
            return line
        at, gap = at + rest.index(line) + 1, False
    return None if gap or at == len(lines) else "the end of what is shown"


@pytest.mark.parametrize("guide", GUIDES)
def test_each_command_prints_what_the_guide_shows(guide: str, tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{PROGRAM.parent}:{os.environ['PATH']}"}
    for script, shown in STEP.findall((HOW_TO / guide).read_text()):
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}"
        missing = follows(shown, done.stdout) if shown else None
        assert missing is None, f"not shown as printed: {missing}\n{script}\n{done.stdout}"
