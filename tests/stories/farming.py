"""What stories do with builds: submit one, wait for a state, read its log."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from examples.first.command import StoryError
from examples.first.installation import Installation
from examples.first.story import ENDED

ENOUGH_SECONDS = 150.0


class Job:
    """The first job of a build that was submitted to `installation`."""

    def __init__(self, installation: Installation, dsc: Path) -> None:
        self._installation = installation
        self.build = installation.json("build", "submit", dsc)
        self.id = int(self.build["jobs"][0]["id"])

    def show(self) -> dict[str, Any]:
        """Return what is known of it."""
        shown = self._installation.json("build", "show", str(self.build["id"]))
        (job,) = [one for one in shown["jobs"] if one["id"] == self.id]
        return dict(job)

    def log(self) -> str:
        """Return the log as it is now; empty before there is one."""
        return self._installation.run("build", "log", str(self.id), accept=(0, 1))

    def wait_until_it_prints(self, text: str) -> None:
        """Return when the log contains `text`."""
        wait_for(lambda: text in self.log(), f"{text!r} in the log", self._tell)

    def wait_until_ended(self) -> dict[str, Any]:
        """Return what is known of it once it has ended."""
        seen: list[dict[str, Any]] = []

        def ended() -> bool:
            seen.append(self.show())
            return seen[-1]["state"] in ENDED

        wait_for(ended, "the end of the job", self._tell)
        return seen[-1]

    def _tell(self) -> str:
        return f"{self.show()}\n{self.log()[-3000:]}"


def wait_for(
    true: Callable[[], bool], what: str, tell: Callable[[], str], seconds: float = ENOUGH_SECONDS
) -> None:
    """Return when `true`; fail the test with what `tell` says when that takes too long.

    A hub that was killed does not answer for a moment: that is not an answer yet.
    """
    deadline = time.monotonic() + seconds
    while not _answers_true(true):
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}: {tell()}"
        time.sleep(0.3)


def _answers_true(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except StoryError as error:
        if "ended with 3" not in str(error):
            raise
        return False
