"""What others depend on stays as it is when an estate is loaded again; all else may change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from django.utils import timezone

from commonfarm.accounts.interface import Role
from commonfarm.agent.protocol import EnrolRequest
from commonfarm.archive.interface import NewArtifact, add_build
from commonfarm.estate.interface import Pool, Project, Repository, Target, load_directory
from commonfarm.fleet.interface import enrol, make_enrolment_token
from commonfarm.lib.errors import BadInputError
from commonfarm.store.interface import put_file
from tests.archive.world import make_deb
from tests.estate.conftest import change, write
from tests.farm.packages import make_source
from tests.farm.test_api import Caller
from tests.fleet.conftest import facts

pytestmark = pytest.mark.django_db

WHO = "user:anna"
OTHER_POOL = "pools:\n  - name: local\n    architecture: "
OTHER_TARGET = "    suite: bookworm\n    architecture: "


def builder(tmp_path: Path) -> None:
    """Enrol a builder into the pool."""
    token = make_enrolment_token(Pool.named("local"), who=WHO, now=timezone.now()).reveal()
    enrol(EnrolRequest(token=token, name="b1", facts=facts()), timezone.now())


def build(tmp_path: Path) -> None:
    """Submit a build for the target."""
    status, said = Caller(Role.SUBMITTER).submit(make_source(tmp_path), project="first")
    assert status == 201, said


def package(tmp_path: Path) -> None:
    """Have a package in the repository."""
    deb = make_deb(tmp_path, "greeting", "1.0", "amd64")
    new = [NewArtifact(deb.name, put_file(deb).sha256)]
    project, target = Project.named("first"), Target.named("bookworm-amd64")
    [verdict] = add_build("job:1", project, target, new, {"job": 1}, who="builder:b1@1")
    assert verdict.verdict == "added"


def refused(folder: Path) -> str:
    """Load the estate, which fails and changes nothing; return what is said."""
    before = [list(model.objects.values()) for model in (Pool, Target, Repository)]
    with pytest.raises(BadInputError) as error:
        load_directory(folder, WHO)
    assert [list(model.objects.values()) for model in (Pool, Target, Repository)] == before
    return str(error.value)


FIXED = [
    pytest.param(
        builder,
        OTHER_POOL,
        "amd64",
        "arm64",
        "estate.yaml:3:19: the architecture of the pool local is amd64 and stays so: it has"
        " builders; leave it at amd64, and declare another pool for arm64",
        id="pool",
    ),
    pytest.param(
        build,
        OTHER_TARGET,
        "amd64",
        "arm64",
        "estate.yaml:7:19: the architecture of the target bookworm-amd64 is amd64 and stays so:"
        " there are builds for it; leave it at amd64, and declare another target for arm64",
        id="target",
    ),
    pytest.param(
        package,
        "path: ",
        "pub/demo",
        "elsewhere",
        "estate.yaml:21:15: the path of the repository demo is pub/demo and stays so: it has"
        " packages, and users' apt looks for them there; leave it at pub/demo, and declare"
        " another repository for elsewhere",
        id="path",
    ),
    pytest.param(
        package,
        "trees:\n  - name: ",
        "pub",
        "www",
        "estate.yaml:20:9: the tree of the repository demo is pub and stays so: it has packages,"
        " and users' apt looks for them there; leave it at pub, and declare another repository"
        " for www",
        id="tree",
    ),
]


@pytest.fixture
def estate(folder: Path) -> Path:
    """An estate without a host, whose architecture would go with its pool's."""
    change(folder, "hosts:\n  - name: anvil\n    architecture: amd64\n    pool: local\n", "")
    load_directory(folder, WHO)
    return folder


@pytest.mark.parametrize(("use", "key", "old", "new", "said"), FIXED)
def test_what_is_in_use_stays_as_it_is(
    estate: Path,
    tmp_path: Path,
    use: Callable[[Path], None],
    key: str,
    old: str,
    new: str,
    said: str,
) -> None:
    use(tmp_path)
    whole = (estate / "estate.yaml").read_text()
    change(estate, key + old, key + new)
    changed = (estate / "estate.yaml").read_text()
    assert refused(estate) == said
    write(estate, "pools: [{name: other, architecture: amd64}]\n")
    load_directory(estate, WHO)
    write(estate, changed)
    assert refused(estate) == said, "nor may it come back so"
    write(estate, whole)
    assert any(line.endswith(": is back") for line in load_directory(estate, WHO).changes)


@pytest.mark.parametrize(("use", "key", "old", "new", "said"), FIXED)
def test_what_nothing_depends_on_yet_may_be_mended(
    estate: Path, use: object, key: str, old: str, new: str, said: str
) -> None:
    make_enrolment_token(Pool.named("local"), who=WHO, now=timezone.now())
    change(estate, key + old, key + new)
    assert any(f"{new}, was {old}" in line for line in load_directory(estate, WHO).changes)


def test_all_that_must_not_change_is_told_at_once(estate: Path, tmp_path: Path) -> None:
    builder(tmp_path)
    package(tmp_path)
    change(estate, OTHER_POOL + "amd64", OTHER_POOL + "arm64")
    change(estate, "pub/demo", "elsewhere")
    assert [line.partition(" ")[0] for line in refused(estate).splitlines()] == [
        "estate.yaml:3:19:",
        "estate.yaml:21:15:",
    ]


@pytest.mark.parametrize("path", ["pub", "pub/demo", "pub/demo/inner"])
def test_the_place_of_a_retired_repository_stays_its_own(
    estate: Path, tmp_path: Path, path: str
) -> None:
    package(tmp_path)
    change(estate, "repository: demo", "repository: other")
    change(estate, "name: demo\n        path: pub/demo", f"name: other\n        path: {path}")
    assert refused(estate).startswith(f"estate.yaml:21:15: the path {path} ")
    assert refused(estate).endswith(
        "that of demo, which left the estate and keeps its place; move it"
    )
    change(estate, f"path: {path}", "path: elsewhere")
    assert "repository demo: retired" in load_directory(estate, WHO).changes


def test_the_place_of_a_retired_repository_without_packages_is_free(estate: Path) -> None:
    change(estate, "repository: demo", "repository: other")
    change(estate, "name: demo", "name: other")
    assert "repository demo: retired" in load_directory(estate, WHO).changes
    assert Repository.named("other").path == "pub/demo"
