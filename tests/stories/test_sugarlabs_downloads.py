"""Sugar Labs, 2009: downloads of 120 GB a day, from two trees behind symlinks, taken by mirrors.

The short form replays the hour in which a release is made, the long one the whole day.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from examples.first.command import as_root
from examples.sugarlabs.downloads.demand import Asked
from examples.sugarlabs.downloads.internet import Internet, may_make_one
from examples.sugarlabs.downloads.site import MirrorSite
from examples.sugarlabs.downloads.story import ESTATE, NOON, Answered, Day, Downloads

pytestmark = [pytest.mark.story, pytest.mark.root]

MOST_OF_ORIGIN = 0.04
HOUR = 3600
LONG = bool(os.environ.get("COMMONFARM_LONG_STORIES"))


@pytest.fixture(scope="module")
def downloads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Downloads]:
    if not may_make_one():
        pytest.skip("only root can make an internet of its own")
    home = Path(f"/var/tmp/cf-sugar-{os.getpid()}")
    home.mkdir(mode=0o755)
    with Internet(f"cf-sugar-{os.getpid()}", {}) as internet:
        story = Downloads(internet, home)
        try:
            story.installation.up(ESTATE, print)
            yield story
        finally:
            for mirror in story.mirrors:
                mirror.die()
            story.installation.down()
    shutil.rmtree(home, ignore_errors=True)
    subprocess.run(as_root("rm", "-rf", "--one-file-system", home), check=False)


def test_a_day_of_downloads(downloads: Downloads) -> None:
    known, soas = downloads.make_application_trees()
    refused_as_in_2009(downloads, known, soas)
    downloads.mend_application_trees(soas)
    for tree, folder in (("activities", known.resolve()), ("soas", soas)):
        downloads.put(tree, folder)
        # After an embargo mirrors are asked at once: there is no time for origin-only.
        soon = datetime.now(UTC) + timedelta(seconds=10)
        downloads.wait_until_public(tree, downloads.publish(tree, soon))
        downloads.fill_mirrors(tree)
    downloads.start_mirrors()
    downloads.wait_for_mirrors()

    new = downloads.make_new_release()
    asked = downloads.requests()
    begin, end = (0, 24 * HOUR) if LONG else (NOON - HOUR // 2, NOON + HOUR // 2)
    asked = [one for one in asked if begin <= one.second < end]
    past = Day()

    past.answered += downloads.replay(between(asked, begin, NOON))
    assert all(one.fetched for one in past.answered)
    released_at_noon(downloads, new, asked, past)
    one_dies(downloads, asked, past)
    one_alters(downloads, asked, past, end)

    print(f"{len(past.answered)} downloads of {past.size} bytes, {past.origin_share:.2%} from us")
    ours = [one for one in past.answered if not one.mirror]
    assert past.origin_share < MOST_OF_ORIGIN, (
        f"{past.origin_share:.2%} of {past.size} bytes of {len(past.answered)} downloads, such as",
        [(one.asked.second - NOON, one.status, one.asked.item.path) for one in ours][:40],
    )
    lost = [one for one in past.answered if not one.fetched]
    assert not lost, lost[:5]


def refused_as_in_2009(downloads: Downloads, known: Path, soas: Path) -> None:
    """A tree is refused that is not where people think, or that not everybody may read."""
    said = downloads.refused("activities", known)
    assert f"{known}: is a symlink to" in said
    assert str(known.resolve()) in said
    said = downloads.refused("soas", soas)
    assert "logs" in said
    assert "/var/log" in said
    assert "mode 0600" in said
    assert "chmod o+r" in said
    assert downloads.installation.json("tree", "show", "soas")["revision"] == 0


def released_at_noon(downloads: Downloads, new: Path, asked: list[Asked], past: Day) -> None:
    """Nobody sees it before; then most get it from mirrors, none from the one that is stale."""
    stale = downloads.mirrors[-1]
    downloads.put("soas", new)
    release = downloads.publish("soas", downloads.noon())
    downloads.stage_mirrors("soas", but=[stale])
    (early,) = downloads.replay([Asked(0, downloads.new[0], "200.40.30.5")])
    assert early.status == 404
    downloads.wait_until_public("soas", release)
    downloads.fill_mirrors("soas", but=[stale])
    at_once = between(asked, NOON, NOON + 30)
    past.answered += downloads.replay(at_once)

    def arrived() -> bool:
        (one,) = downloads.replay([Asked(NOON, downloads.new[0], "200.40.30.5")])
        return one.status == 302

    downloads.wait_for(arrived, "the first mirror to have the release")
    after = list(downloads.replay(between(asked, NOON + 30, NOON + 600)))
    past.answered += after
    assert not [one for one in after if is_new(one) and one.mirror == stale.address]
    assert [one for one in after if not is_new(one) and one.mirror == stale.address] or not LONG


def one_dies(downloads: Downloads, asked: list[Asked], past: Day) -> None:
    """Clients go on to the next mirror that they were told of; then nobody is sent there."""
    dead = downloads.mirrors[0]
    dead.die()
    past.answered += downloads.replay(between(asked, NOON + 600, NOON + 660))
    for tree in ("activities", "soas"):
        name = f"{dead.name}-{tree}"
        downloads.wait_for(partial(probed_down, downloads, name), f"{name} to be found dead")
        wait_until_left_out(downloads, dead, tree)
    after = list(downloads.replay(between(asked, NOON + 660, NOON + 1200)))
    past.answered += after
    assert after
    assert not [one for one in after if one.mirror == dead.address]


def probed_down(downloads: Downloads, name: str) -> bool:
    downloads.installation.run("mirror", "probe", name)
    return bool(downloads.installation.json("mirror", "show", name)["state"] == "down")


def one_alters(downloads: Downloads, asked: list[Asked], past: Day, end: int) -> None:
    """What serves other bytes than ours is found by an audit, and quarantined."""
    lying = downloads.mirrors[4]
    for item in (*downloads.old, *downloads.new):
        lying.alter(item.path)
    for tree in ("activities", "soas"):
        downloads.installation.run("mirror", "audit", f"{lying.name}-{tree}")
        downloads.wait_for(
            partial(is_quarantined, downloads, lying, tree), f"{lying.name} to be quarantined"
        )
        wait_until_left_out(downloads, lying, tree)
    after = list(downloads.replay(between(asked, NOON + 1200, end)))
    past.answered += after
    assert after
    assert not [one for one in after if one.mirror == lying.address]


def is_quarantined(downloads: Downloads, mirror: MirrorSite, tree: str) -> bool:
    return downloads.state_of(mirror, tree) == "quarantined"


def wait_until_left_out(downloads: Downloads, mirror: MirrorSite, tree: str) -> None:
    """Return when the map in force says that nobody is sent to a mirror."""
    path = next(one.path for one in downloads.old if one.path.startswith(f"{tree}/"))

    def left_out() -> bool:
        said = downloads.installation.json(
            "mirror", "explain", path, "--from", "200.40.30.5", accept=(0, 1)
        )
        return f"{mirror.name}-{tree}" in {one["mirror"] for one in said["left_out"]}

    downloads.wait_for(left_out, f"the map to leave {mirror.name}-{tree} out")


def between(asked: list[Asked], begin: int, end: int) -> list[Asked]:
    return [one for one in asked if begin <= one.second < end]


def is_new(one: Answered) -> bool:
    return one.asked.item.since > 0
