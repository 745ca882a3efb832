"""A small project in an internet of its own: one tree and a few mirrors, for benchmarks and tests.

Needs root.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from examples.first.command import StoryError, run
from examples.sugarlabs.downloads.internet import Internet, networks_of
from examples.sugarlabs.downloads.site import MirrorSite
from examples.sugarlabs.downloads.there import InstallationThere

TREE = "demo"
ESTATE = f"""\
trees:
  - name: {TREE}
    environment: production
    review: none
    origin_only: 0 s
"""
_SETPRIV = """\
#!/bin/sh
[ -e {clock} ] && case "$*" in *" -- "*"cli.main worker"|*" -- "*"cli.main redirector")
    for word do
        shift
        set -- "$@" "$word"
        if [ "$word" = -- ]; then
            set -- "$@" env LD_PRELOAD={library} FAKETIME_TIMESTAMP_FILE={clock} \\
                FAKETIME_CACHE_DURATION=1 FAKETIME_DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
        fi
    done
esac
exec /usr/bin/setpriv "$@"
"""
WAIT_SECONDS = 60.0
POLL_SECONDS = 0.02


class SmallProject:
    """The project, with its processes below `home`, from entering it until leaving."""

    def __init__(self, name: str, home: Path, countries: Sequence[str] = ("DE", "FR")) -> None:
        self.internet = Internet(name, {})
        self.home = home
        home.mkdir(mode=0o755)
        self.installation = InstallationThere(self.internet, "small", home / "farm")
        found = networks_of(sorted({*countries, "DE"}), len(countries) + 1, seed=7)
        self.client = found["DE"].pop()
        self.mirrors = [
            MirrorSite(self.internet, home / "mirrors", f"m{number}", country, found[country].pop())
            for number, country in enumerate(countries)
        ]
        self.estate = home / "estate"
        self._put = 0
        self.may_move_clock = False

    def __enter__(self) -> Self:
        self.estate.mkdir()
        (self.estate / "trees.yaml").write_text(ESTATE)
        self.internet.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for mirror in self.mirrors:
            mirror.die()
        try:
            self.installation.down()
        finally:
            self.internet.__exit__(kind, error, trace)
            if (self.home / "disk").is_mount():
                run("umount", self.home / "disk")
            shutil.rmtree(self.home, ignore_errors=True)

    def up(self) -> None:
        """Start all processes, and return when they answer."""
        self.installation.up(self.estate, lambda _: None)

    def have_small_disk(self, size: int) -> Path:
        """Give store and published trees a disk of their own of so many bytes, before the first
        `up`; return its folder.
        """
        disk = self.home / "disk"
        disk.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", disk)
        make = "from commonfarm.installation.configure import make; make('small')"
        run(sys.executable, "-c", make, environment=self.installation.environment)
        text = self.installation.config_file.read_text()
        for name in ("store", "published"):
            text = text.replace(str(self.state / name), str(disk / name))
        self.installation.config_file.write_text(text)
        return disk

    def have_movable_clock(self) -> None:
        """Have what `move_clock` takes, before the first `up`, if there is Debian's libfaketime.

        Worker and redirector are started by `setpriv`, for which another one is found.
        """
        library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
        self.may_move_clock = library is not None
        if library is None:
            return
        programs = self.home / "programs"
        programs.mkdir()
        # Under its clock_nanosleep no Python sleeps (it takes CLOCK_MONOTONIC for the other clock):
        # by another name it is found by nobody.
        mended = library.read_bytes().replace(b"\0clock_nanosleep\0", b"\0clock_nanosleeq\0")
        (programs / library.name).write_bytes(mended)
        setpriv = programs / "setpriv"
        setpriv.write_text(_SETPRIV.format(library=programs / library.name, clock=self.clock))
        setpriv.chmod(0o755)
        path = f"{programs}:{self.installation.environment['PATH']}"
        self.installation.environment["PATH"] = path

    def move_clock(self, seconds: int) -> None:
        """Let it be so many seconds later than it is, from within a second on, for what was started
        while there was such a `clock`.
        """
        new = self.clock.with_suffix(".new")
        new.write_text(f"{seconds:+}\n")
        new.chmod(0o644)
        new.replace(self.clock)

    @property
    def clock(self) -> Path:
        """The file that says how late it is."""
        return self.home / "clock"

    @property
    def state(self) -> Path:
        """The folder of the installation's state."""
        return self.home / "farm/state/small"

    def log_of(self, process: str) -> str:
        """Return what a process has said."""
        return (self.state / f"log/{process}.log").read_text(errors="replace")

    # Releases.

    def put(self, files: Mapping[str, bytes], tree: str = TREE) -> int:
        """Put files into a new release, and return its number."""
        self._put += 1
        folder = self.home / f"put/{self._put}"
        for path, data in files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        for one in (folder, *folder.rglob("*")):
            one.chmod(0o755 if one.is_dir() else 0o644)
        return int(self.installation.json("tree", "put", tree, folder)["number"])

    def publish(self, release: int, at: datetime | None = None, tree: str = TREE) -> None:
        """Make a release public, now or at a time."""
        when = ["--at", at.isoformat()] if at else []
        self.installation.run("tree", "publish", tree, str(release), *when)

    def state_of(self, release: int, tree: str = TREE) -> str:
        """Return how a release stands."""
        return str(self.installation.json("tree", "show", tree, str(release))["state"])

    def wait_until_public(self, release: int) -> None:
        """Return when users see a release."""
        wait_for(lambda: self.state_of(release) == "public", f"release {release} to be public")

    def published_at(self) -> datetime:
        """Return when the newest revision was switched to."""
        newest = self.installation.json("tree", "history", TREE, "--limit", "1")[0]
        return datetime.fromisoformat(newest["published_at"])

    # Mirrors.

    @property
    def rsync(self) -> str:
        """Where mirrors pull the tree."""
        return f"{self.installation.status_or_fail()['rsync']}/{TREE}/"

    def start_mirrors(self) -> None:
        """Have all mirrors filled, started and registered, and return when clients are sent to
        them.
        """
        for mirror in self.mirrors:
            wait_for(partial(self._pulled, mirror), "rsync to serve the tree")
            mirror.start()
            where = ["--http", f"{mirror.http}{TREE}/", "--rsync", f"{mirror.rsync}{TREE}/"]
            country = ["--country", mirror.country]
            self.installation.run(
                "mirror", "add", mirror.name, "--tree", TREE, *where, *country, "--vouch"
            )
        wait_for(
            lambda: all(one["state"] == "up" for one in self.installation.json("mirror", "list")),
            "all mirrors to be up",
        )

    def _pulled(self, mirror: MirrorSite) -> bool:
        try:
            mirror.pull(self.rsync, TREE)
        except StoryError:
            return False
        return True

    def stage(self, mirror: MirrorSite) -> None:
        """Have a mirror fetch what is under embargo."""
        password = self.home / f"{mirror.name}.password"
        if not password.exists():
            told = self.installation.json("mirror", "rsync-password", mirror.name)
            password.write_text(json.dumps(told))
        told = json.loads(password.read_text())
        secret = password.with_suffix(".secret")
        secret.write_text(told["password"])
        secret.chmod(0o600)
        wait_for(partial(mirror.may_stage, told["url"], secret), "the password to be good")
        mirror.stage(told["url"], secret, TREE)

    # Clients.

    def ask(self, path: str) -> dict[str, Any]:
        """Ask the redirector for TREE/`path` as a client: see `replay.ask`."""
        return self.installation.ask(self.client, f"{TREE}/{path}")

    def left_out(self, path: str) -> dict[str, str]:
        """Return which mirrors are left out for TREE/`path`, and why."""
        return self.installation.left_out(self.client, f"{TREE}/{path}")

    def wait_until_redirected(self, path: str, mirror: MirrorSite | None = None) -> datetime:
        """Return when a client was first sent to a mirror (to this one) for a path."""
        while_waiting = partial(self._is_redirected, path, mirror)
        wait_for(while_waiting, f"{path} to be redirected", POLL_SECONDS)
        return datetime.now(UTC)

    def _is_redirected(self, path: str, mirror: MirrorSite | None) -> bool:
        answer = self.ask(path)
        return answer["status"] == 302 and mirror in (None, self.mirror_at(answer["mirror"]))

    def mirror_at(self, address: str) -> MirrorSite | None:
        """Return the mirror at an address."""
        return next((one for one in self.mirrors if one.address == address), None)


def wait_for(
    true: Callable[[], bool], what: str, pause: float = 0.2, seconds: float = WAIT_SECONDS
) -> None:
    """Return when `true`; StoryError when that takes too long."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise StoryError(f"waited {seconds:.0f} s for {what}")
        time.sleep(pause)
