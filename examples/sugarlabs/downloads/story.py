"""The story: trees behind symlinks are put right, ten mirrors take the downloads of a day.

A release is made at noon. It was under embargo, and its mirrors were filled before. In the
afternoon one mirror dies and one serves altered bytes; another was not filled, and stays as it was.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from examples.first.command import StoryError
from examples.sugarlabs.downloads.demand import COUNTRIES, SCALE, Asked, Item, day
from examples.sugarlabs.downloads.internet import Internet, networks_of
from examples.sugarlabs.downloads.site import MirrorSite
from examples.sugarlabs.downloads.there import InstallationThere

ESTATE = Path(__file__).parent
NOON = 12 * 3600
DAY_BYTES = 120 * 10**9
ACTIVITIES = 300
INDEX = json.dumps({"names and versions of activities": ACTIVITIES, "signature": "0" * 128}) + "\n"
NEW_ACTIVITIES = 24
PLACES = ("UY", "UY", "PE", "BR", "US", "US", "US", "DE", "DE", "IN")
WITHOUT_RSYNC = 2
STAGED_SECONDS = 20.0
WAIT_SECONDS = 90.0


@dataclass(frozen=True, slots=True)
class Answered:
    """A download as it went: what was asked, the mirror that was `told` first and the one that had
    it in the end ("" is ourselves in both), and whether a client that follows got it.
    """

    asked: Asked
    status: int
    told: str
    mirror: str
    fetched: bool

    @property
    def is_new(self) -> bool:
        """Whether it is of what was released at noon."""
        return self.asked.item.since > 0


@dataclass
class Day:
    """What came of all downloads so far."""

    answered: list[Answered] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Accounted bytes in all."""
        return sum(one.asked.item.size for one in self.answered)

    @property
    def origin_share(self) -> float:
        """Which part of the bytes we had to send ourselves."""
        ours = sum(one.asked.item.size for one in self.answered if not one.mirror)
        return ours / self.size if self.answered else 0.0

    def sums(self, of: Callable[[Answered], str]) -> dict[str, tuple[int, int]]:
        """Return downloads and bytes as they lie there (not as they are accounted) by something."""
        found: dict[str, tuple[int, int]] = {}
        for one in self.answered:
            downloads, size = found.get(of(one), (0, 0))
            found[of(one)] = downloads + 1, size + one.asked.item.size // SCALE
        return found


class Downloads:
    """Sugar Labs' downloads in `internet`, with files below `home`. Needs root."""

    def __init__(self, internet: Internet, home: Path) -> None:
        self.internet = internet
        self.home = home
        self.installation = InstallationThere(internet, "sugarlabs", home / "farm")
        self.clients = networks_of(list(COUNTRIES), 40, seed=2009)
        found = networks_of(sorted(set(PLACES)), max(map(PLACES.count, PLACES)), seed=13)
        self.mirrors = [
            MirrorSite(
                internet,
                home / "mirrors",
                f"{country.lower()}{number}",
                country,
                found[country].pop(),
                has_rsync=number >= WITHOUT_RSYNC,
            )
            for number, country in enumerate(PLACES)
        ]
        self.day = Day()
        self.old: list[Item] = []
        self.new: list[Item] = []
        self.index = Item("activities/index.json", 0)

    # The two application trees, as they were found in 2009.

    def make_application_trees(self) -> tuple[Path, Path]:
        """Make both folders: one behind a symlink, one with a wrong owner, a private mode and a
        link that leaves it. Returns the paths that people know.
        """
        dice = random.Random(8)  # noqa: S311 - the same files each time
        disk = self.home / "disk"
        activities, soas = disk / "activities", disk / "soas"
        for number in range(ACTIVITIES):
            file = activities / f"{number:04d}/activity-{number}.xo"
            size = max(int(dice.lognormvariate(14.2, 1.2)), 40_000)
            self.old.append(_make(file, size, dice, f"activities/{file.relative_to(activities)}"))
        (activities / "index.json").write_text(INDEX)
        self.index = Item("activities/index.json", len(INDEX) * SCALE)
        for arch in ("i386", "x86_64"):
            file = soas / f"1/soas-1-strawberry-{arch}.iso"
            self.old.append(_make(file, 400 * 2**20, dice, f"soas/{file.relative_to(soas)}"))
        for folder in (activities, soas):
            _open_up(folder)
        known = self.home / "srv/activities"
        known.parent.mkdir(parents=True)
        known.symlink_to(activities)
        (soas / "latest").symlink_to("1")
        (soas / "logs").symlink_to("/var/log")
        private = soas / "1/soas-1-strawberry-i386.iso"
        private.chmod(0o600)
        return known, soas

    def mend_application_trees(self, soas: Path) -> None:
        """Do what the refusals said."""
        (soas / "logs").unlink()
        (soas / "1/soas-1-strawberry-i386.iso").chmod(0o644)

    def make_new_release(self) -> Path:
        """Make what is released at noon: new activities and a new system."""
        dice = random.Random(9)  # noqa: S311 - the same files each time
        folder = self.home / "disk/new"
        for number in range(NEW_ACTIVITIES):
            file = folder / f"2/activity-{number}-2.xo"
            size = max(int(dice.lognormvariate(14.2, 1.2)), 40_000)
            self.new.append(_make(file, size, dice, f"soas/{file.relative_to(folder)}", NOON))
        file = folder / "2/soas-2-blueberry-x86_64.iso"
        self.new.append(_make(file, 500 * 2**20, dice, f"soas/{file.relative_to(folder)}", NOON))
        _open_up(folder)
        return folder

    # Publishing.

    def put(self, tree: str, folder: Path) -> None:
        """Put a folder into a tree."""
        self.installation.run("tree", "put", tree, folder)

    def refused(self, tree: str, folder: Path) -> str:
        """Try to put a folder into a tree; return why that is refused."""
        try:
            self.put(tree, folder)
        except StoryError as error:
            if "ended with 2" in str(error):
                return str(error)
            raise
        raise StoryError(f"{folder} was put into {tree}")

    def publish(self, tree: str, visible_from: datetime | None = None) -> int:
        """Review and publish the newest release of a tree; return its number."""
        newest = max(
            one["number"] for one in self.installation.json("tree", "show", tree)["releases"]
        )
        self.installation.run("tree", "review", tree, str(newest))
        at = ["--at", visible_from.isoformat()] if visible_from else []
        self.installation.run("tree", "publish", tree, str(newest), *at)
        return int(newest)

    def wait_until_public(self, tree: str, release: int) -> None:
        """Return when users see a release."""
        self.wait_for(
            lambda: self.installation.json("tree", "show", tree, str(release))["state"] == "public",
            f"{tree} release {release} to be public",
        )

    # Mirrors.

    def start_mirrors(self) -> None:
        """Start the servers of every mirror, and register each for both trees."""
        for mirror in self.mirrors:
            mirror.start()
            for tree in ("activities", "soas"):
                where = ["--http", f"{mirror.http}{tree}/", "--country", mirror.country, "--vouch"]
                if mirror.has_rsync:
                    where += ["--rsync", f"{mirror.rsync}{tree}/"]
                name = f"{mirror.name}-{tree}"
                self.installation.run("mirror", "add", name, "--tree", tree, *where)

    def fill_mirrors(self, tree: str, but: Sequence[MirrorSite] = ()) -> None:
        """Have every mirror pull a tree from our rsync server."""
        for mirror in self.mirrors:
            if mirror not in but:
                mirror.pull(f"{self.rsync_url()}/{tree}/", tree)

    def stage_mirrors(self, tree: str, but: Sequence[MirrorSite] = ()) -> None:
        """Have every mirror fetch what is under embargo, from the module for registered ones."""
        for mirror in self.mirrors:
            if mirror in but:
                continue
            told = self.installation.json("mirror", "rsync-password", f"{mirror.name}-{tree}")
            password = mirror.home / mirror.name / "password"
            password.write_text(told["password"])
            password.chmod(0o600)
            self.wait_for(
                partial(mirror.may_stage, told["url"], password),
                f"{mirror.name} to be let in at {told['url']}",
            )
            mirror.stage(told["url"], password, tree)

    def wait_for_mirrors(self) -> None:
        """Return when every mirror was found well, and seen to have all of its tree."""

        def whole() -> bool:
            rows = self.installation.json("mirror", "list")
            scans = [row["details"]["last_scan"] for row in rows if row["state"] == "up"]
            complete = [one for one in scans if one["files_found"] == one["files_expected"]]
            return len(complete) == 2 * len(self.mirrors)

        self.wait_for(whole, "all mirrors to be seen whole")

    def state_of(self, mirror: MirrorSite, tree: str) -> str:
        """Return how a mirror stands."""
        return str(self.installation.json("mirror", "show", f"{mirror.name}-{tree}")["state"])

    # Downloads.

    def requests(self) -> list[Asked]:
        """Return the downloads of the day."""
        return day([*self.old, *self.new], self.index, self.clients, DAY_BYTES, seed=120)

    def replay(self, asked: Iterable[Asked]) -> list[Answered]:
        """Ask the redirector for each, from the client's own address; keep and return what came."""
        found = []
        for one in asked:
            answer = self.installation.ask(one.client, one.item.path)
            told, mirror = answer["told"], answer["mirror"]
            found.append(Answered(one, answer["status"], told, mirror, answer["fetched"]))
        self.day.answered += found
        return found

    def name_of_told(self, one: Answered) -> str:
        """Return the name under which the mirror that was told is registered for that tree."""
        tree = one.asked.item.path.partition("/")[0]
        return next((f"{at.name}-{tree}" for at in self.mirrors if at.address == one.told), "")

    def rsync_url(self) -> str:
        """Return our own rsync server's address."""
        return str(self.installation.status_or_fail()["rsync"])

    def noon(self) -> datetime:
        """Return when the embargo is to end: soon, but after the mirrors were filled."""
        return datetime.now(UTC) + timedelta(seconds=STAGED_SECONDS)

    def wait_for(self, true: Callable[[], bool], what: str) -> None:
        """Return when `true`; StoryError when that takes too long."""
        begin = time.monotonic()
        while not true():
            if time.monotonic() > begin + WAIT_SECONDS:
                raise StoryError(f"waited {WAIT_SECONDS:.0f} s for {what}")
            time.sleep(0.3)
        print(f"waited {time.monotonic() - begin:.1f} s for {what}")


def _make(file: Path, size: int, dice: random.Random, path: str, since: int = 0) -> Item:
    """Write a file that is accounted with `size` bytes, and lies there with a part of them."""
    file.parent.mkdir(parents=True, exist_ok=True)
    data = dice.randbytes(max(size // SCALE, 1))
    file.write_bytes(data)
    return Item(path, len(data) * SCALE, since)


def _open_up(folder: Path) -> None:
    for one in (folder, *folder.rglob("*")):
        one.chmod(0o755 if one.is_dir() else 0o644)
