"""Whatever is killed while a build is under way, nothing that was accepted is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from examples.first.installation import Installation
from examples.first.story import ESTATE

from tests.stories.farming import Job, wait_for
from tests.stories.packages import make_slow

pytestmark = [pytest.mark.root, pytest.mark.network, pytest.mark.story]


def published(installation: Installation, job: Job) -> bool:
    """Say whether what the job built stands in the published tree."""
    folder = Path(installation.status_or_fail()["published"])
    paths = [one["path"] for one in job.show()["results"] if one["verdict"] == "added"]
    return bool(paths) and all(list(folder.glob(f"*/*/{path}")) for path in paths)


def must_end_published(installation: Installation, job: Job) -> None:
    ended = job.wait_until_ended()
    assert ended["state"] == "succeeded", ended
    wait_for(lambda: published(installation, job), "its publication", lambda: str(job.show()))


@pytest.mark.parametrize("process", ["hub", "scheduler", "worker", "signer", "postgres"])
def test_a_killed_process_comes_back_and_the_build_goes_on(
    installation: Installation, tmp_path: Path, process: str
) -> None:
    job = Job(installation, make_slow(tmp_path, f"without-{process}", 6))
    job.wait_until_it_prints("building second 1\n")
    installation.kill_one(process)
    must_end_published(installation, job)
    installation.wait_until_ready()
    assert job.show()["attempts"] == 0, "an attempt was lost"
    assert "building second 6\n" in job.log()


def test_a_killed_builder_builds_again_after_its_return(
    installation: Installation, tmp_path: Path
) -> None:
    job = Job(installation, make_slow(tmp_path, "without-builder", 8))
    job.wait_until_it_prints("building second 2\n")
    installation.kill_one("agent")
    must_end_published(installation, job)
    assert job.show()["attempts"] == 1, "the attempt that was lost is not counted"
    installation.wait_until_ready()


def test_all_of_it_killed_and_started_again(installation: Installation, tmp_path: Path) -> None:
    built = Job(installation, make_slow(tmp_path, "under-way", 8))
    waits = Job(installation, make_slow(tmp_path, "still-waiting", 1))
    built.wait_until_it_prints("building second 2\n")
    installation.kill()
    installation.up(ESTATE, say=print)
    must_end_published(installation, built)
    must_end_published(installation, waits)
