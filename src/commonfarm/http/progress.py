"""How far an upload or a download is, for the person who waits for it. No Django."""

from __future__ import annotations

import sys
import threading
from typing import Any

import typer


class Progress:
    """A bar on a terminal, a line per file elsewhere, nothing when quiet; on the error output.

    With `total`, bytes of several files that may be under way side by side, the bar is of them all.
    """

    def __init__(self, *, quiet: bool, total: int = 0) -> None:
        self._quiet = quiet
        self._total = total
        self._sent: dict[str, int] = {}
        self._guard = threading.Lock()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress as Bar

            self._bar = Bar(console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task("…")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, name: str, sent: int, size: int) -> None:
        """Show how far a file is."""
        if self._bar is not None:
            with self._guard:
                self._sent[name] = sent
                done, of = (sum(self._sent.values()), self._total) if self._total else (sent, size)
            self._bar.update(self._task, description=name[-40:], completed=done, total=of)
        elif not self._quiet and sent == size:
            typer.echo(f"{name}: done", err=True)
