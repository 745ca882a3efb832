"""What sudo runs for an unprivileged `up` ends when `up` lets go, or dies."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from commonfarm.installation import lifeline

PROGRAM = [sys.executable, lifeline.__file__]


def test_the_command_ends_when_the_pipe_is_closed(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    script = f"import os, time; open({str(note)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    process = subprocess.Popen([*PROGRAM, sys.executable, "-c", script], stdin=subprocess.PIPE)
    while not (note.exists() and note.read_text()):
        assert process.poll() is None
        time.sleep(0.01)
    pid = note.read_text()
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(10) == -15 % 256
    assert not Path(f"/proc/{pid}").exists()


def test_its_exit_code_is_the_commands() -> None:
    process = subprocess.Popen([*PROGRAM, "sh", "-c", "exit 7"], stdin=subprocess.PIPE)
    assert process.wait(10) == 7
