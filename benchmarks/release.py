"""A release: how soon clients are sent to mirrors for a new file.

    python benchmarks/release.py [--quick] [--json]

A whole installation and two mirrors (nginx, rsync) in an internet of their own, as root; a client
asks for the new path every 20 ms. Measured are the seconds until it is first answered by 302:

- embargo: from the switch of the tree (`published_at`) to mirrors that were filled before
- pushed: from the last byte at a mirror that pulls at once when the release is public
- cron: from the last byte at a mirror that pulls half a minute later

No peer is measured: those of the field find new files by scans, which run by the hour.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from examples.sugarlabs.downloads.internet import may_make_one
from examples.sugarlabs.downloads.site import MirrorSite
from examples.sugarlabs.downloads.small import TREE, SmallProject

RUNS = 5
GOAL_SECONDS = 5.0
FILE_BYTES = 2**20
FILES_BEFORE = 200
AHEAD_SECONDS = 12.0
LATER_SECONDS = 30.0


def embargo(project: SmallProject, path: str) -> float:
    """Release a file that both mirrors hold already; return the seconds to the first redirect."""
    release = project.put({path: os.urandom(FILE_BYTES)})
    project.publish(release, datetime.now(UTC) + timedelta(seconds=AHEAD_SECONDS))
    for mirror in project.mirrors:
        project.stage(mirror)
        mirror.reveal(TREE)
    assert project.ask(path)["status"] == 404, "it is seen before its time"
    redirected = project.wait_until_redirected(path)
    return (redirected - project.published_at()).total_seconds()


def pulled(project: SmallProject, path: str, pause: float) -> float:
    """Release a file, have a mirror pull it `pause` seconds later; return the seconds from its last
    byte there to the first redirect.
    """
    release = project.put({path: os.urandom(FILE_BYTES)})
    project.publish(release)
    project.wait_until_public(release)
    time.sleep(pause)
    mirror, *others = project.mirrors
    mirror.pull(project.rsync, TREE)
    redirected = project.wait_until_redirected(path, mirror)
    for other in others:
        other.pull(project.rsync, TREE)
    return redirected.timestamp() - arrived(mirror, path)


def arrived(mirror: MirrorSite, path: str) -> float:
    """Return when a file was whole at a mirror: rsync gives it its name then."""
    return (mirror.files / TREE / path).stat().st_ctime


def figure(values: list[float], goal: float | None) -> dict[str, Any]:
    """Return a figure as benchmarks report them."""
    middle = statistics.median(values)
    return {
        "ours": round(middle, 2),
        "peer": None,
        "ratio": None,
        "unit": "s",
        "runs": len(values),
        "min": round(min(values), 2),
        "max": round(max(values), 2),
        "goal": goal,
        "met": None if goal is None else middle <= goal,
    }


def measure(project: SmallProject, *, quick: bool) -> dict[str, Any]:
    """Return the figures."""
    project.up()
    files = {f"old/{number}.iso": os.urandom(20_000) for number in range(FILES_BEFORE)}
    first = project.put(files)
    project.publish(first)
    project.wait_until_public(first)
    project.start_mirrors()
    ways: dict[str, tuple[Callable[[str], float], float | None]] = {
        "embargo": (lambda path: embargo(project, path), GOAL_SECONDS),
        "pushed": (lambda path: pulled(project, path, 0), GOAL_SECONDS),
        "cron": (lambda path: pulled(project, path, LATER_SECONDS), None),
    }
    if quick:
        del ways["cron"]
    found = {}
    for name, (way, goal) in ways.items():
        values = []
        for number in range(1 if quick else RUNS):
            values.append(way(f"{name}/{number}.iso"))
            print(f"{name} {number}: {values[-1]:.2f} s", file=sys.stderr)
        found[name] = figure(values, None if quick else goal)
    return found


def main() -> None:
    """Measure and print."""
    if not may_make_one():
        raise SystemExit("only root can make an internet of its own")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    name = f"cf-release-{os.getpid()}"
    with SmallProject(name, Path("/var/tmp") / name) as project:  # noqa: S108 - its own, by its pid
        figures = measure(project, quick="--quick" in sys.argv)
    if "--json" in sys.argv:
        print(json.dumps({"name": "release", **figures}))
        return
    print("Seconds until clients are sent to a mirror for a new file")
    for way, one in figures.items():
        goal = f"; goal {one['goal']:g}, met: {one['met']}" if one["goal"] is not None else ""
        spread = f"{one['min']:.2f} to {one['max']:.2f} in {one['runs']} runs"
        print(f"{way:<8} {one['ours']:>6.2f} s ({spread}){goal}")


if __name__ == "__main__":
    main()
