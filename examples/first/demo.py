"""`make demo`: the first story, told to a person at a terminal.

On a terminal one line per step shows what it does; elsewhere each thing said is a line of its own.
A table closes it: each step, how long it took, where to look.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from examples.first.command import StoryError, run
from examples.first.installation import PROGRAM, Installation
from examples.first.story import Say, Story

INSTALLATION = "demo"


class Telling:
    """What the demo prints: steps with their times, and the table at the end."""

    def __init__(self, console: Console, steps: int) -> None:
        self._console = console
        self._steps = steps
        self._rows: list[tuple[str, float, str]] = []

    def step(self, title: str, act: Callable[[Say], str], only: str = "") -> None:
        """Carry out one step, showing what it says; where lines stay, only those that begin so."""
        number = len(self._rows) + 1
        label = f"[bold]{number}/{self._steps} {title}[/bold]"
        began = time.monotonic()
        if self._console.is_terminal:
            with self._console.status(label) as status:
                where = act(lambda line: status.update(f"{label}  [dim]{_short(line)}[/dim]"))
        else:
            self._console.print(label)
            where = act(lambda line: self._say(line) if line.startswith(only) else None)
        self.add(title, time.monotonic() - began, where)

    def _say(self, line: str) -> None:
        self._console.print(f"    {escape(line)}", soft_wrap=True)

    def add(self, title: str, seconds: float, where: str) -> None:
        """Note a step that is done."""
        self._rows.append((title, seconds, where))
        mark = f"[green]done[/green] {len(self._rows)}/{self._steps} {title}"
        self._console.print(f"{mark}  [dim]{seconds:.1f} s[/dim]")

    def table(self) -> None:
        """Print each step, how long it took, and where to look."""
        table = Table("step", "", "seconds", "where to look", show_lines=False)
        table.columns[2].justify = "right"
        table.columns[3].overflow = "fold"
        for number, (title, seconds, where) in enumerate(self._rows, 1):
            table.add_row(str(number), title, f"{seconds:.1f}", escape(where))
        table.add_section()
        table.add_row("", "all of it", f"{sum(row[1] for row in self._rows):.1f}", "")
        self._console.print(table)


def _short(line: str) -> str:
    return escape(line[:100])


def _home() -> Path:
    """Return where the demo keeps its mirrors and clean root; the state of services is not here."""
    if os.getuid() == 0:
        return Path("/var/lib/commonfarm-demo")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    return Path(base) / "commonfarm-demo"


def _need_root() -> None:
    """Stop at once where no builder could start: sudo must do without this terminal, as `up` does.

    Raises StoryError with what `doctor` says of it.
    """
    if os.getuid() == 0:
        return
    doctor = [PROGRAM, "--installation", INSTALLATION, "doctor", "--json"]
    for one in json.loads(run("setsid", "--wait", *doctor, accept=(0, 1))):
        if one["name"] == "root for the builder" and not one["ok"]:
            raise StoryError(f"{one['found']}; {one['mend']}")


def tell(console: Console, since: float, *, end: bool) -> None:
    """Tell the story; `since` is when setting up began (Unix time), `end` stops it afterwards."""
    _need_root()
    home = _home()
    home.mkdir(parents=True, exist_ok=True)
    home.chmod(0o755)
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoryError("another demo runs on this machine; end it with Ctrl-C") from None
        _tell(console, Story(Installation(INSTALLATION), home), since, end=end)


def _tell(console: Console, story: Story, since: float, *, end: bool) -> None:
    telling = Telling(console, 7)
    telling.add("set up this machine", time.time() - since, "make setup")
    try:
        # The addresses that `up` prints, and its own sign-in link, would stand here twice.
        telling.step("start every process", story.start, only="[")
        console.print(f"    the pages: {story.installation.status_or_fail()['web']}")
        console.print(f"    sign in once by: {story.sign_in_link()}", soft_wrap=True)
        telling.step("fetch, check and submit a source", story.submit)
        telling.step("build it", story.wait_for_build, only="=== ")
        telling.step("publish it", story.wait_for_publication)
        telling.step("fill, register and scan two mirrors", story.fill_mirrors)
        telling.step("install it by apt, from a mirror", story.install)
        console.print(f"    {story.package} says: [bold]{escape(story.greeting)}[/bold]")
        telling.table()
        if not end:
            console.print("The services go on until Ctrl-C.")
            signal.pause()
    finally:
        console.print("Stopping.")
        story.stop()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Read the command line and tell the story."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--since", type=float, default=time.time(), help="when setting up began")
    parser.add_argument("--exit", action="store_true", help="stop the services at the end")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    # A file has no width of its own; the table's addresses should stay whole in it.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)
    try:
        tell(console, options.since, end=options.exit)
    except KeyboardInterrupt:
        return 130
    except (StoryError, PermissionError) as error:
        console.print(f"[red]The demo stopped:[/red] {escape(str(error))}", soft_wrap=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
