"""What killed runs of the stories left behind goes, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from commonfarm.installation import leftovers
from tests.stories.conftest import remove_left


def test_only_what_nobody_uses_is_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    names = (f"{ended.pid}-a", f"{ended.pid}-b", f"{os.getpid()}-a", "9o9rn0gx")
    dead, ends, ours, other = (tmp_path / f"cf-story-{name}" for name in names)
    for folder in (dead, ends, ours, other):
        (folder / "farm").mkdir(parents=True)
    carried = {leftovers.VARIABLE: leftovers.mark(ends / "farm/state/story", "worker")}
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"],
        env=carried,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdin is not None and running.stdout is not None
        running.stdout.readline()
        remove_left(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([ours, ends, other])
        running.stdin.close()
    remove_left(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([ours, other])
