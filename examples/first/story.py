"""The steps of the first story, each a method that returns where its result can be looked at."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

from examples.first.client import CleanRoot
from examples.first.command import StoryError
from examples.first.installation import Installation
from examples.first.mirror import MirrorServer

ESTATE = Path(__file__).parent
BUILD_SECONDS = 900.0
PUBLISH_SECONDS = 60.0
SCAN_SECONDS = 60.0
ENDED = {"succeeded", "failed", "cancelled"}
# What may be built, and the command that then greets. Where the machine's Debian mirror lacks a
# file of the first's source (some keep only a part), the next is taken.
PACKAGES = {"hello": ("hello",), "figlet": ("figlet", "Hello, world!")}

Say = Callable[[str], None]


class Story:
    """From a source package to an installed one, in `installation`, with files below `home`.

    `package` is what is built for the one target of the example's estate, published in its one
    repository, and installed from there: the first of PACKAGES whose source can be had.
    """

    def __init__(self, installation: Installation, home: Path) -> None:
        self.installation = installation
        self.package = next(iter(PACKAGES))
        self.home = home
        self.mirrors = [MirrorServer(home / "mirrors" / name) for name in ("north", "south")]
        self.build = 0
        self.greeting = ""
        self._started_it = False

    # Step 1, setting up, is the Makefile's: nothing of this can run before it.

    def start(self, say: Say) -> str:
        """Start every process and load the example's estate."""
        if self.installation.is_ready():
            say("it is running already")
        else:
            self._started_it = True
            self.installation.up(ESTATE, say)
        return str(self.installation.status_or_fail()["web"])

    def submit(self, say: Say) -> str:
        """Have the package's source fetched, checked and handed in."""
        target = self._target()
        build = self._submit_first_of(list(PACKAGES), target["suite"], say)
        self.build = build["id"]
        say(f"build {self.build}: {build['source']} {build['version']} for {target['name']}")
        return f"commonfarm build show {self.build}"

    def _submit_first_of(self, packages: list[str], suite: str, say: Say) -> dict[str, Any]:
        self.package, *others = packages
        say(f"the source of {self.package} as Debian {suite} has it")
        try:
            return dict(self.installation.json("build", "submit", self.package))
        except StoryError as error:
            missing = re.search(r"Failed to fetch (\S+)\s+404", str(error))
            if missing is None or not others:
                raise
        say(f"this machine's mirror lacks {missing[1]}: it will be {others[0]} instead")
        return self._submit_first_of(others, suite, say)

    def wait_for_build(self, say: Say) -> str:
        """Follow the log until the build, and a rebuild if it needs one, has ended well."""
        deadline = time.monotonic() + BUILD_SECONDS
        followed: set[int] = set()
        while True:
            jobs = self.jobs()
            for job in jobs:
                if job["state"] != "waiting" and job["id"] not in followed:
                    followed.add(job["id"])
                    self._follow(job["id"], say)
                    break
            else:
                if all(job["state"] in ENDED for job in jobs):
                    break
                if time.monotonic() > deadline:
                    raise StoryError(f"the build took more than {BUILD_SECONDS:.0f} seconds")
                time.sleep(0.3)
        last = jobs[-1]
        if last["state"] != "succeeded":
            raise StoryError(f"the build {last['state']}: {last['state_reason']}")
        return f"commonfarm build log {last['id']}"

    def wait_for_publication(self, say: Say) -> str:
        """Wait until a user of the repository sees what was built."""
        verdicts = {one["filename"]: one for one in self.jobs()[-1]["results"]}
        for name, one in verdicts.items():
            say(f"{name}: {one['verdict']}")
        paths = [one["path"] for one in verdicts.values() if one["verdict"] == "added"]
        deadline = time.monotonic() + PUBLISH_SECONDS
        while not all(f"Filename: {path}\n" in self._packages() for path in paths):
            if time.monotonic() > deadline:
                raise StoryError(
                    f"{', '.join(paths)} was not published in {PUBLISH_SECONDS:.0f} seconds;"
                    " `commonfarm journal tail` and the worker's log say more"
                )
            time.sleep(0.2)
        return f"{self.repository_url()}dists/{self._target()['suite']}/InRelease"

    def fill_mirrors(self, say: Say) -> str:
        """Fill two mirrors by rsync, start their servers, register them and have them scanned."""
        tree = self._tree()["name"]
        published = Path(self.installation.status_or_fail()["published"]) / tree
        known = {one["name"]: one for one in self.installation.json("mirror", "list")}
        for mirror in self.mirrors:
            mirror.fill(published)
            mirror.start()
            if mirror.name not in known:
                where = ("--http", mirror.url, "--tree", tree, "--country", "de", "--vouch")
                self.installation.run("mirror", "add", mirror.name, *where)
            elif known[mirror.name]["http"] != mirror.url:
                address = ("--http", mirror.url, "--vouch")
                self.installation.run("mirror", "edit", mirror.name, *address)
            self.installation.run("mirror", "scan", mirror.name)
        for mirror in self.mirrors:
            earlier = known[mirror.name]["details"]["last_scan"] if mirror.name in known else None
            self._wait_for_scan(mirror, earlier, say)
        self._wait_for_redirect()
        return "commonfarm mirror list"

    def install(self, say: Say) -> str:
        """Install the package by apt in a clean root, through the redirector, from a mirror."""
        status, target = self.installation.status_or_fail(), self._target()
        root = CleanRoot(self.home / "client", target)
        if not root.is_cached:
            say("making the clean root by mmdebstrap, the first time only")
        root.unpack()
        key = Path(status["public_keys"]) / "archive.asc"
        root.add_source(self.repository_url(), target["suite"], key)
        before = {mirror.name: len(mirror.served()) for mirror in self.mirrors}
        say("apt-get update")
        root.run("apt-get", "update", "--error-on=any")
        say(f"apt-get install {self.package}")
        root.run("apt-get", "install", "--yes", "--no-install-recommends", self.package)
        sent_to = [
            mirror.url + path.lstrip("/")
            for mirror in self.mirrors
            for path in mirror.served()[before[mirror.name] :]
            if path.endswith(".deb")
        ]
        if not sent_to:
            raise StoryError("no mirror was asked for the package: the redirector kept it")
        self.greeting = root.run(*PACKAGES[self.package]).rstrip()
        if "\n" in self.greeting:  # a picture, which begins on a line of its own
            self.greeting = f"\n{self.greeting}"
        return sent_to[0]

    def sign_in_link(self) -> str:
        """Return a link that signs the first admin in, once."""
        return str(self.installation.json("user", "sign-in-link", "admin")["url"])

    def suite(self) -> str:
        """Return the suite that was built for."""
        return str(self._target()["suite"])

    def jobs(self) -> list[dict[str, Any]]:
        """Return the jobs of the build, oldest first."""
        shown = self.installation.json("build", "show", str(self.build))
        return sorted(shown["jobs"], key=lambda job: int(job["id"]))

    def repository_url(self) -> str:
        """Return the address apt is given: the redirector's."""
        tree = self._tree()
        base = self.installation.status_or_fail()["redirector"].rstrip("/")
        return f"{base}/{tree['name']}/{tree['repositories'][0]['path'].strip('/')}/"

    def stop(self) -> None:
        """Stop the mirrors, and the installation if this story started it."""
        for mirror in self.mirrors:
            mirror.stop()
        if self._started_it:
            self.installation.down()

    def _target(self) -> dict[str, Any]:
        (target,) = self.installation.json("estate", "show")["targets"]
        return dict(target)

    def _tree(self) -> dict[str, Any]:
        (tree,) = self.installation.json("estate", "show")["trees"]
        return dict(tree)

    def _follow(self, job: int, say: Say) -> None:
        with self.installation.lines("build", "log", str(job), "-f") as log:
            assert log.stdout is not None
            for line in log.stdout:
                say(line.rstrip())

    def _packages(self) -> str:
        target = self._target()
        path = f"dists/{target['suite']}/main/binary-{target['architecture']}/Packages"
        try:
            with urlopen(self.repository_url() + path, timeout=10) as answer:  # noqa: S310
                return str(answer.read().decode())
        except OSError:
            return ""

    def _wait_for_scan(self, mirror: MirrorServer, earlier: Any, say: Say) -> None:
        """Wait until a scan after `earlier` found the mirror complete."""
        deadline = time.monotonic() + SCAN_SECONDS
        while True:
            scan = self.installation.json("mirror", "show", mirror.name)["details"]["last_scan"]
            complete = scan and scan["ok"] and scan["files_found"] == scan["files_expected"]
            if complete and scan != earlier:
                say(f"{mirror.name} at {mirror.url} has all {scan['files_found']} files")
                return
            if time.monotonic() > deadline:
                raise StoryError(f"mirror {mirror.name} is not complete: {scan}")
            time.sleep(0.3)

    def _wait_for_redirect(self) -> None:
        """Wait until the redirector has read the map that knows the mirrors."""
        path = next(
            line.removeprefix("Filename: ")
            for line in self._packages().splitlines()
            if line.startswith("Filename: ")
        )
        deadline = time.monotonic() + SCAN_SECONDS
        urls = tuple(mirror.url for mirror in self.mirrors)
        while not redirect_of(self.repository_url() + path).startswith(urls):
            if time.monotonic() > deadline:
                raise StoryError(
                    f"{path} is not redirected to a mirror; ask `commonfarm mirror explain`"
                )
            time.sleep(0.2)


def redirect_of(url: str) -> str:
    """Return where the server at `url` sends a client (its `Location`), empty if it does not."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
    try:
        connection.request("HEAD", parts.path)
        return connection.getresponse().headers.get("Location", "")
    finally:
        connection.close()
