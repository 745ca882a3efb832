"""The first story in its short form: what `make demo` tells, with each claim checked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from examples.first.client import CleanRoot
from examples.first.installation import Installation
from examples.first.story import Story, redirect_of

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.story]


def test_from_a_source_package_to_an_installed_one(installation: Installation, home: Path) -> None:
    story = Story(installation, home)
    try:
        for step in (story.start, story.submit, story.wait_for_build, story.wait_for_publication):
            step(print)
        first = {one["filename"]: one["verdict"] for one in story.jobs()[-1]["results"]}
        # Another story of this run may have built it before.
        built = {verdict for name, verdict in first.items() if name.endswith(".deb")}
        assert built in ({"added"}, {"identical"}), first
        story.fill_mirrors(print)
        served_at = story.install(print)
        if story.package == "hello":
            assert story.greeting == "Hello, world!"
        else:
            assert story.greeting.count("\n") > 3, "figlet's large letters"
        ours = story.repository_url()

        root = CleanRoot(home / "client", installation.json("estate", "show")["targets"][0])
        policy = root.run("apt-cache", "policy", story.package)
        origins = [line.split()[1] for line in policy.splitlines() if "http" in line]
        assert origins == [ours.rstrip("/")], policy
        checks = root.run("apt-config", "dump", "Acquire::Check-Valid-Until", "Acquire::Check-Date")
        assert "false" not in checks.lower()

        path = served_at.split("/", 3)[3]
        sent_to = redirect_of(f"{ours.rsplit('/', 2)[0]}/{path}")
        assert sent_to in {mirror.url + path for mirror in story.mirrors}
        assert redirect_of(f"{ours}dists/{story.suite()}/InRelease") == ""

        (release,) = (root.path / "var/lib/apt/lists").glob("*_InRelease")
        lists = release.read_text()
        assert "\nValid-Until: " in lists
        assert "\nAcquire-By-Hash: yes\n" in lists

        story.submit(print)
        story.wait_for_build(print)
        again = {one["filename"]: one["verdict"] for one in story.jobs()[-1]["results"]}
        packages = {name: verdict for name, verdict in again.items() if name.endswith(".deb")}
        assert set(packages.values()) == {"identical"}, json.dumps(again)
    finally:
        for mirror in story.mirrors:
            mirror.stop()
