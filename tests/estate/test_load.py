"""Loading makes the tables say what the YAML says: all of it or nothing, and recorded once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

from commonfarm.estate import host_apt
from commonfarm.estate.interface import (
    Host,
    Load,
    Pool,
    Project,
    ReleaseTree,
    Repository,
    Target,
    load_directory,
)
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import BadInputError, NotFoundError, Reason, RefusedError
from tests.estate.conftest import change, write

pytestmark = pytest.mark.django_db

EXAMPLE = Path(__file__).parents[2] / "examples" / "first"
WHO = "user:anna"
SOURCES = [
    host_apt.PackageSource("http://deb.example.org/debian/", "bookworm", ("main",)),
    host_apt.PackageSource("http://deb.example.org/debian/", "bookworm-updates", ("main",)),
    host_apt.PackageSource("http://sec.example.org/debian-security/", "bookworm-security", ()),
]


@pytest.fixture
def bookworm(monkeypatch: pytest.MonkeyPatch, keyring: Path) -> None:
    """Be a bookworm host with one mirror, whatever runs the tests."""
    monkeypatch.setattr(host_apt, "host_suite", lambda: "bookworm")
    monkeypatch.setattr(host_apt, "host_architecture", lambda: "arm64")
    monkeypatch.setattr(host_apt, "host_package_sources", lambda: SOURCES)
    monkeypatch.setattr("commonfarm.estate.keyrings.ARCHIVE_KEYRINGS", [keyring])


def test_the_example_is_loaded_and_host_is_resolved_and_recorded(
    bookworm: None, keyring: Path
) -> None:
    load = load_directory(EXAMPLE, WHO)
    target = Target.named("bookworm-arm64")
    assert (target.declared_suite, target.suite, target.architecture) == (
        "host",
        "bookworm",
        "arm64",
    )
    assert target.package_sources == [
        {"uri": one.uri, "suite": one.suite, "components": ["main"]} for one in SOURCES
    ]
    assert target.keyring == str(keyring)
    assert Pool.named("local").architecture == "arm64"
    assert Host.named("local").pool == Pool.named("local")
    project = Project.named("first")
    assert [one.name for one in project.targets.all()] == ["bookworm-arm64"]
    assert project.repository == Repository.named("demo")
    assert Repository.named("demo").valid_seconds == 7 * 86400
    assert load.changes == [
        "pool local: new",
        "host local: new",
        "target bookworm-arm64: new",
        "release tree pub: new",
        "repository demo: new",
        "project first: new",
        "project first: targets are bookworm-arm64",
    ]
    entry = Entry.objects.get(what="estate loaded")
    assert (entry.who, entry.subject) == (WHO, f"load:{load.pk}")
    assert entry.details == {
        "origin": str(EXAMPLE),
        "changes": load.changes,
        "commit": "",
        "title": "",
    }


def test_loaded_twice_is_recorded_once(folder: Path) -> None:
    first = load_directory(folder, WHO)
    again = load_directory(folder, "user:ben")
    assert again == first
    assert (Load.objects.count(), Entry.objects.count()) == (1, 1)


@pytest.fixture
def upgraded(bookworm: None, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return what turns the bookworm host into one of trixie."""

    def upgrade() -> None:
        sources = [replace(one, suite=one.suite.replace("bookworm", "trixie")) for one in SOURCES]
        monkeypatch.setattr(host_apt, "host_suite", lambda: "trixie")
        monkeypatch.setattr(host_apt, "host_package_sources", lambda: sources)

    return upgrade


def test_a_host_that_became_another_release_has_another_target(
    upgraded: Callable[[], None],
) -> None:
    load_directory(EXAMPLE, WHO)
    upgraded()
    assert load_directory(EXAMPLE, WHO).changes == [
        "target trixie-arm64: new",
        "project first: targets are trixie-arm64",
        "target bookworm-arm64: retired",
    ]
    assert Target.named("trixie-arm64").declared_suite == "host"
    assert Target.objects.get(name="bookworm-arm64").suite == "bookworm", "as it was"
    assert load_directory(EXAMPLE, WHO).pk == Load.objects.latest("pk").pk, "and not once more"


def test_a_target_with_a_name_keeps_it_when_the_host_is_another_release(
    upgraded: Callable[[], None], folder: Path
) -> None:
    write(folder, (EXAMPLE / "estate.yaml").read_text())
    change(folder, "  - suite: host", "  - name: host\n    suite: host")
    load_directory(folder, WHO)
    upgraded()
    again = load_directory(folder, WHO)
    assert "target host: suite is trixie, was bookworm" in again.changes
    target = Target.named("host")
    assert (target.declared_suite, target.suite) == ("host", "trixie")


def nameless(*suites: str, **project: str) -> str:
    """Return an estate with targets without a name, and a project."""
    text = "targets:\n"
    for suite in suites:
        text += f"  - suite: {suite}\n    architecture: host\n    packages: host\n"
    text += "projects:\n  - name: first\n"
    return text + "".join(f"    {key}: {value}\n" for key, value in project.items())


def test_a_project_may_name_a_target_by_what_it_comes_to(bookworm: None, folder: Path) -> None:
    write(folder, nameless("host", "trixie", targets="[bookworm-arm64]"))
    load_directory(folder, WHO)
    assert Target.named("trixie-arm64")
    assert [one.name for one in Project.named("first").targets.all()] == ["bookworm-arm64"]
    write(folder, nameless("host", targets="[trixie-arm64]"))
    with pytest.raises(BadInputError) as error:
        load_directory(folder, WHO)
    assert str(error.value) == (
        "estate.yaml:7:15: there is no target `trixie-arm64`; there are: bookworm-arm64"
    )


@pytest.mark.parametrize("other", ["  - ", "  - name: bookworm-arm64\n    "])
def test_two_targets_that_come_to_one_name_are_told(
    bookworm: None, folder: Path, other: str
) -> None:
    write(folder, nameless("host"))
    rest = f"targets:\n{other}suite: bookworm\n    architecture: arm64\n    packages: host\n"
    (folder / "more.yaml").write_text(rest)
    with pytest.raises(BadInputError) as error:
        load_directory(folder, WHO)
    column = 5 if other == "  - " else 11
    assert str(error.value) == (
        f"more.yaml:2:{column}: the target bookworm-arm64 is declared already, at"
        " estate.yaml:2:5; give one of them another name"
    )


@pytest.mark.parametrize(
    ("host", "pool", "said"),
    [
        ("host", "amd64", "is arm64, and its pool local amd64; name a pool of arm64"),
        ("amd64", "host", "is amd64, and its pool local arm64; name a pool of amd64"),
    ],
)
def test_a_host_is_of_the_architecture_of_its_pool(
    bookworm: None, folder: Path, host: str, pool: str, said: str
) -> None:
    text = "pools: [{name: local, architecture: %s}]\n"
    text += "hosts:\n  - {name: anvil, architecture: %s, pool: local}\n"
    write(folder, text % (pool, host))
    with pytest.raises(BadInputError) as error:
        load_directory(folder, WHO)
    assert str(error.value).startswith(f"estate.yaml:3:33: the host anvil {said}")
    write(folder, text % (pool, "arm64" if pool == "host" else "amd64"))
    assert load_directory(folder, WHO).changes == ["pool local: new", "host anvil: new"]


def test_what_changed_is_told_in_lines_a_person_can_read(folder: Path) -> None:
    load_directory(folder, WHO)
    change(folder, "        components: [main]", "        components: [main, contrib]")
    change(folder, "    keyring", "    signed_sources_only: true\n    keyring")
    change(folder, "valid_for: 7 d", "valid_for: 14 d")
    change(folder, "    pool: local\n", "")
    assert load_directory(folder, WHO).changes == [
        "host anvil: pool is -, was local",
        (
            "target bookworm-amd64: package_sources is https://deb.example.org/debian/ bookworm"
            " main, contrib, was https://deb.example.org/debian/ bookworm main"
        ),
        "target bookworm-amd64: signed_sources_only is yes, was no",
        "repository demo: valid_seconds is 1209600, was 604800",
    ]


def test_what_left_is_retired_and_may_come_back(folder: Path) -> None:
    load_directory(folder, WHO)
    whole = (folder / "estate.yaml").read_text()
    write(folder, "pools:\n  - name: other\n    architecture: amd64\n")
    assert load_directory(folder, WHO).changes == [
        "pool other: new",
        "project first: retired",
        "host anvil: retired",
        "repository demo: retired",
        "release tree pub: retired",
        "target bookworm-amd64: retired",
        "pool local: retired",
    ]
    with pytest.raises(NotFoundError, match=r"the target bookworm-amd64 left the estate on \d{4}-"):
        Target.named("bookworm-amd64")
    write(folder, whole)
    back = load_directory(folder, WHO).changes
    assert "target bookworm-amd64: is back" in back
    assert "pool other: retired" in back
    assert Target.objects.count() == 1, "the same row, so what was built for it is still its own"
    assert Project.named("first").repository == Repository.named("demo")


def test_what_is_not_there_is_named_with_what_is(folder: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no target 'x'; load an estate: commonfarm estate"):
        Target.named("x")
    load_directory(folder, WHO)
    with pytest.raises(NotFoundError, match="there is no target"):
        Target.named("bookworm-amd64\0")
    with pytest.raises(NotFoundError, match="did you mean `bookworm-amd64`"):
        Target.named("bookwrom-amd64")
    with pytest.raises(NotFoundError, match="there are: pub") as error:
        ReleaseTree.named("zzz")
    assert error.value.reason.code == "no-such-release-tree"


def test_a_bad_estate_changes_nothing(folder: Path) -> None:
    load_directory(folder, WHO)
    change(folder, "name: local", "name: renamed")
    with pytest.raises(BadInputError, match=r"estate.yaml:7:11: there is no pool `local`"):
        load_directory(folder, WHO)
    assert Pool.named("local")
    assert Load.objects.count() == 1


def test_a_load_that_dies_between_two_steps_changes_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as dying:
        dying.setattr("commonfarm.estate.load.record", die)
        with pytest.raises(KeyboardInterrupt):
            load_directory(folder, WHO)
    assert not Pool.objects.exists()
    assert not Load.objects.exists()
    assert load_directory(folder, WHO).changes


@pytest.mark.django_db(transaction=True)
def test_of_many_who_load_at_once_one_is_recorded(folder: Path) -> None:
    def attempt(_: int) -> int:
        try:
            return load_directory(folder, WHO).pk
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(attempt, range(4)))) == 1
    assert (Load.objects.count(), Pool.objects.count(), Entry.objects.count()) == (1, 1, 1)


def test_a_keyring_that_is_not_there_is_told_at_its_line(folder: Path, keyring: Path) -> None:
    keyring.unlink()
    with pytest.raises(BadInputError) as error:
        load_directory(folder, WHO)
    assert str(error.value) == (
        f"estate.yaml:12:14: the keyring {keyring} cannot be read: No such file or directory;"
        " let everyone read it, or name another"
    )


def test_each_target_that_cannot_be_resolved_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_debian() -> str:
        raise RefusedError(Reason("host-not-debian", "this host is Fedora", "name a suite"))

    monkeypatch.setattr(host_apt, "host_suite", no_debian)
    text = "targets:\n"
    for name, suite in (("a", "host"), ("b", "bookworm")):
        text += f"  - name: {name}\n    suite: {suite}\n    architecture: amd64\n"
        text += "    packages: host\n"
    write(folder, text)
    with pytest.raises(BadInputError) as error:
        load_directory(folder, WHO)
    assert str(error.value).splitlines() == [
        "estate.yaml:3:12: this host is Fedora; name a suite",
        "estate.yaml:9:15: this host is Fedora; name a suite",
    ]


@pytest.mark.parametrize(
    ("suite", "expected"),
    [
        ("trixie", ["trixie", "trixie-updates", "trixie-security"]),
        ("bookworm", ["bookworm", "bookworm-updates", "bookworm-security"]),
        ("sid", ["sid"]),
        ("unstable", ["unstable"]),
    ],
)
def test_another_suite_from_the_hosts_mirror(
    bookworm: None, folder: Path, suite: str, expected: list[str]
) -> None:
    write(
        folder,
        f"targets:\n  - name: t\n    suite: {suite}\n    architecture: amd64\n"
        "    components: [main, contrib]\n    packages: host\n",
    )
    load_directory(folder, WHO)
    sources = Target.named("t").package_sources
    assert [one["suite"] for one in sources] == expected
    mirrors = [one.uri for one in SOURCES[: len(expected)]]
    assert [one["uri"] for one in sources] == mirrors, "the host's own, each for its part"
    assert {" ".join(one["components"]) for one in sources} == {"main contrib"}


def test_a_keyring_put_together_lies_in_the_state(folder: Path, keyring: Path) -> None:
    armored = keyring.with_suffix(".asc")
    armored.write_text(
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\na2V5cw==\n=abcd\n"
        "-----END PGP PUBLIC KEY BLOCK-----\n"
    )
    change(folder, str(keyring), str(armored))
    load_directory(folder, WHO)
    kept = Path(Target.named("bookworm-amd64").keyring)
    assert kept.parent == settings.COMMONFARM.state / "keyrings"
    assert kept.read_bytes() == b"keys"


def test_this_host_itself_resolves(tmp_path: Path) -> None:
    load_directory(EXAMPLE, WHO)
    suite, architecture = host_apt.host_suite(), host_apt.host_architecture()
    target = Target.named(f"{suite}-{architecture}")
    assert (target.suite, target.architecture) == (suite, architecture)
    assert target.package_sources[0]["uri"].startswith("http")
    assert Path(target.keyring).is_file()


def test_a_range_of_hosts_is_as_many_rows(folder: Path) -> None:
    change(folder, "name: anvil", "name: arm-[08:10]")
    load_directory(folder, WHO)
    there = Host.objects.filter(retired_at=None).order_by("name")
    assert [(one.name, one.pool and one.pool.name) for one in there] == [
        ("arm-08", "local"), ("arm-09", "local"), ("arm-10", "local"),
    ]  # fmt: skip
    change(folder, "arm-[08:10]", "arm-[09:10]")
    assert "host arm-08: retired" in load_directory(folder, WHO).changes


def test_many_hosts_take_no_more_statements_than_one(
    folder: Path, django_assert_max_num_queries: Callable[[int], AbstractContextManager[Any]]
) -> None:
    change(folder, "name: anvil", "name: arm-[001:600]")
    with django_assert_max_num_queries(80):
        load_directory(folder, WHO)
    change(folder, "    architecture: amd64\n    pool: local", "    architecture: arm64")
    with django_assert_max_num_queries(80):
        load = load_directory(folder, WHO)
    assert load.changes[-2:] == [
        "host arm-001 to arm-600 (600): architecture is arm64, was amd64",
        "host arm-001 to arm-600 (600): pool is -, was local",
    ]
    assert Host.objects.filter(architecture="arm64", pool=None).count() == 600


def test_a_tree_has_the_policy_it_is_given_or_the_usual_one(folder: Path) -> None:
    write(
        folder,
        "trees:\n"
        "  - {name: soas, promotes_to: pub, review: other, origin_only: 1 h}\n"
        "  - {name: pub, changing: ['*.json'], rpm_repositories: {f/x86_64: f/os}}\n",
    )
    load_directory(folder, WHO)
    soas, pub = ReleaseTree.named("soas"), ReleaseTree.named("pub")
    assert (soas.promotes_to, soas.review, soas.origin_only_seconds) == ("pub", "other", 3600)
    assert (pub.promotes_to, pub.review, pub.origin_only_seconds) == ("", "any", 1800)
    assert (pub.changing, pub.rpm_repositories) == (["*.json"], {"f/x86_64": "f/os"})
    assert pub.grace_seconds == 7 * 86400


def test_a_tree_with_files_stays_adopted_where_it_is(folder: Path) -> None:
    write(folder, "trees: [{name: pub, adopts: /srv/files}]\n")
    load_directory(folder, WHO)
    (files,) = [
        relation.related_model
        for relation in ReleaseTree._meta.related_objects
        if relation.get_accessor_name() == "files"
    ]
    files._default_manager.create(tree=ReleaseTree.named("pub"), path="a", size=1, since_revision=1)
    write(folder, "trees: [{name: pub, adopts: /srv/other}]\n")
    with pytest.raises(BadInputError, match="adopts of the release tree pub is /srv/files"):
        load_directory(folder, WHO)
