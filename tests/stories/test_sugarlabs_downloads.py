"""Sugar Labs, 2009: downloads of 120 GB a day, from two trees behind symlinks, taken by mirrors.

The short form replays the hour in which a release is made, the long one the whole day.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from examples.first.command import StoryError, as_root
from examples.sugarlabs.downloads.demand import COUNTRIES, Asked, Item, day
from examples.sugarlabs.downloads.internet import Internet, may_make_one
from examples.sugarlabs.downloads.site import MirrorSite
from examples.sugarlabs.downloads.story import DAY_BYTES, ESTATE, NOON, Answered, Downloads
from examples.sugarlabs.downloads.there import Counted

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
    begin, end = (0, 24 * HOUR) if LONG else (NOON - HOUR // 2, NOON + HOUR // 2)
    asked = between(downloads.requests(), begin, end)

    assert all(one.fetched for one in downloads.replay(between(asked, begin, NOON)))
    released_at_noon(downloads, new, asked)
    one_dies(downloads, asked)
    one_alters(downloads, asked, end)

    past = downloads.day
    print(f"{len(past.answered)} downloads of {past.size} bytes, {past.origin_share:.2%} from us")
    went_on = sum(one.told != one.mirror for one in past.answered)
    print(f"{went_on} were told of a mirror that was just dead, and went on to the next")
    lost = [one for one in past.answered if not one.fetched]
    assert not lost, lost[:5]
    assert [one.asked for one in past.answered] == asked
    ours = [one for one in past.answered if not one.mirror]
    assert 0 < past.origin_share < MOST_OF_ORIGIN, (
        f"{past.origin_share:.2%} of {past.size} bytes of {len(past.answered)} downloads, such as",
        [(one.asked.second - NOON, one.status, one.asked.item.path) for one in ours][:40],
    )
    assert {one.asked.item for one in ours if not one.is_new} == {downloads.index}
    stale = downloads.mirrors[-1].address
    assert not [one for one in past.answered if one.is_new and one.told == stale]
    counted_alike(downloads)


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


def released_at_noon(downloads: Downloads, new: Path, asked: list[Asked]) -> None:
    """Nobody sees it before. The first get it from us, until the first mirrors have pulled it; and
    none from the one that is stale.
    """
    stale = downloads.mirrors[-1]
    client, item = downloads.clients[stale.country][0], downloads.new[0]
    downloads.put("soas", new)
    release = downloads.publish("soas", downloads.noon())
    downloads.stage_mirrors("soas", but=[stale])
    assert downloads.installation.ask(client, item.path)["status"] == 404
    downloads.wait_until_public("soas", release)

    noon, waiting = time.monotonic(), deque(between(asked, NOON, NOON + 600))

    def ask_until(second: float) -> list[Answered]:
        return downloads.replay(iter(lambda: _next(waiting, second), None))

    first = next(one.second for one in waiting if one.item.since)
    at_once = [one for one in ask_until(first) if one.is_new]
    assert all(one.status == 200 and one.fetched for one in at_once), at_once
    for mirror in downloads.mirrors:
        if mirror is not stale:
            mirror.pull(f"{downloads.rsync_url()}/soas/", "soas")
        ask_until(NOON + time.monotonic() - noon)

    def arrived() -> bool:
        ask_until(NOON + time.monotonic() - noon)
        left_out = downloads.installation.left_out(client, item.path)
        return left_out.keys() == {f"{stale.name}-soas"}

    downloads.wait_for(arrived, "all mirrors but the stale one to have the release")
    after = ask_until(NOON + 600)
    assert all(one.mirror for one in after if one.is_new)
    assert not downloads.installation.left_out(client, downloads.old[-1].path)


def _next(waiting: deque[Asked], second: float) -> Asked | None:
    return waiting.popleft() if waiting and waiting[0].second <= second else None


def one_dies(downloads: Downloads, asked: list[Asked]) -> None:
    """Clients go on to the next mirror that they were told of; then nobody is sent there."""
    dead = downloads.mirrors[0]
    dead.die()
    downloads.replay(between(asked, NOON + 600, NOON + 660))
    for tree in ("activities", "soas"):
        name = f"{dead.name}-{tree}"
        downloads.wait_for(partial(probed_down, downloads, name), f"{name} to be found dead")
        wait_until_left_out(downloads, dead, tree)
    after = downloads.replay(between(asked, NOON + 660, NOON + 1200))
    assert after
    assert not [one for one in after if one.told == dead.address]


def probed_down(downloads: Downloads, name: str) -> bool:
    downloads.installation.run("mirror", "probe", name)
    return bool(downloads.installation.json("mirror", "show", name)["state"] == "down")


def one_alters(downloads: Downloads, asked: list[Asked], end: int) -> None:
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
    after = downloads.replay(between(asked, NOON + 1200, end))
    assert after
    assert not [one for one in after if one.told == lying.address]


def is_quarantined(downloads: Downloads, mirror: MirrorSite, tree: str) -> bool:
    return downloads.state_of(mirror, tree) == "quarantined"


def wait_until_left_out(downloads: Downloads, mirror: MirrorSite, tree: str) -> None:
    """Return when the map that the redirector has in force says that nobody is sent to a mirror."""
    path = next(one.path for one in downloads.old if one.path.startswith(f"{tree}/"))
    client = downloads.clients["UY"][0]

    def left_out() -> bool:
        return f"{mirror.name}-{tree}" in downloads.installation.left_out(client, path)

    downloads.wait_for(left_out, f"the map to leave {mirror.name}-{tree} out")


def counted_alike(downloads: Downloads) -> None:
    """The redirector counted what the clients noted: by mirror and by file, to the byte."""
    noted = Counted(
        downloads.day.sums(downloads.name_of_told),
        downloads.day.sums(lambda one: one.asked.item.path),
    )
    with suppress(StoryError):
        downloads.wait_for(lambda: downloads.installation.counted() == noted, "all to be counted")
    assert downloads.installation.counted() == noted


def between(asked: list[Asked], begin: int, end: int) -> list[Asked]:
    return [one for one in asked if begin <= one.second < end]


def test_a_day_is_plausible() -> None:
    items = [Item(f"old/{number}", 2**22) for number in range(300)]
    items += [Item(f"new/{number}", 2**22, NOON) for number in range(25)]
    index, clients = Item("old/index", 2**15), {name: [name] for name in COUNTRIES}
    asked = day(items, index, clients, DAY_BYTES, seed=120)
    assert asked == sorted(asked, key=lambda one: one.second)
    assert 0 <= sum(one.item.size for one in asked) - DAY_BYTES < 2**23
    files = [one.item for one in asked if one.item != index]
    assert len(asked) - len(files) == sum(one.path.startswith("old/") for one in files)
    old = Counter(one.path for one in files if not one.since)
    tenth = sum(count for _, count in old.most_common(30)) / old.total()
    assert 0.55 < tenth < 0.65, "of 300 files by Zipf's law ln(31) / ln(301) = 60%"
    afternoon = [one.item for one in asked if one.second >= NOON and one.item != index]
    assert 0.48 < sum(one.since > 0 for one in afternoon) / len(afternoon) < 0.52
    here = Counter((one.second // HOUR - 3) % 24 for one in asked if one.client == "UY")
    assert 4 < here[20] / here[8] < 8, "evenings are as busy as 1.7 to 0.3"
