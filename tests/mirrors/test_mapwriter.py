"""From the tables to the map that redirectors read, full or by deltas."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import psycopg
import pytest
from django.conf import settings
from django.db import connection
from hypothesis import HealthCheck, given
from hypothesis import settings as how
from hypothesis import strategies as st

from commonfarm.archive.models import TreeAlias, TreeFile
from commonfarm.guard.interface import BusyError
from commonfarm.journal.models import Entry
from commonfarm.lib.errors import Reason, UnreachableError
from commonfarm.mirrors import mapwriter
from commonfarm.mirrors.holdings import record_check, start_scan
from commonfarm.mirrors.models import MapWritten, Mirror, MirrorCount, Scan, ScanKind
from commonfarm.mirrors.steps import mapping
from commonfarm.redirector.mirror_map import DELTA, FULL, File, mark_of
from tests.locks import wait_until_free
from tests.mirrors.conftest import BY_HASH, DEB, IN_RELEASE, NOW, Signer, Tree, register

pytestmark = pytest.mark.django_db


def give(mirror: Mirror, tree: Tree, *paths: str, taken: tuple[str, ...] = ()) -> None:
    """Have it seen that a mirror has these files of the current revision."""
    numbers = [tree.number(path) for path in paths]
    gone = [tree.number(path) for path in taken]
    record_check(mirror, tree.revision, numbers, gone, now=NOW)


@pytest.fixture
def north(tree: Tree) -> Mirror:
    return scanned(register("north", tree, "http://north.example.org/"))


def scanned(mirror: Mirror) -> Mirror:
    scan = start_scan(mirror, 1, ScanKind.HTTP, mirror.http, NOW)
    Scan.objects.filter(pk=scan.pk).update(ok=True, finished_at=NOW)
    return mirror


def write() -> None:
    if mapping.write_map(NOW):
        mapping.write_full_map(NOW)


def files() -> list[str]:
    folder = settings.COMMONFARM.mirror_map.parent
    return sorted(file.name for file in folder.iterdir())


def test_a_full_map_says_what_is_published_and_who_has_it(
    tree: Tree, north: Mirror, signer: Signer
) -> None:
    TreeAlias.objects.create(tree=tree.row, path="latest", target="pool", since_revision=1)
    TreeFile.objects.filter(path=BY_HASH).update(mirrors_from=NOW)
    tree.row.rpm_repositories = {"fedora": "rpm"}
    tree.row.save()
    give(north, tree, DEB, IN_RELEASE)
    write()
    the_map = signer.map()
    assert files() == [FULL]
    assert [(one.name, one.http, one.problem) for one in the_map.mirrors] == [
        ("north", "http://north.example.org/", "")
    ]
    deb = TreeFile.objects.get(path=DEB)
    assert the_map.find(f"demo/{DEB}") == File(deb.size, bytes.fromhex(deb.sha256), False, 1)
    by_hash = the_map.find(f"demo/{BY_HASH}")
    assert by_hash is not None
    assert (by_hash.mirrors, by_hash.mirrors_from) == (0, int(NOW.timestamp()))
    in_release = the_map.find(f"demo/{IN_RELEASE}")
    assert in_release is not None and in_release.changes and in_release.mirrors == 1
    hashes = the_map.hashes(f"demo/{DEB}")
    assert hashes is not None and len(hashes.sha1) == 20
    assert hashes.modified_at == int(NOW.timestamp())
    assert the_map.resolve("demo/latest/a") == "demo/pool/a"
    assert dict(the_map.trees["demo"].repositories) == {"fedora": "rpm"}
    written = MapWritten.objects.get()
    assert (written.files, written.mirrors, written.base, len(written.digest)) == (3, 1, 0, 64)
    assert Entry.objects.filter(what="mirror map written").count() == 1


def test_what_changed_is_a_delta_and_the_same_is_not_written_twice(
    tree: Tree, north: Mirror, signer: Signer
) -> None:
    write()
    write()
    assert (files(), signer.asked) == ([FULL], [1])
    give(north, tree, DEB)
    write()
    assert (files(), signer.asked) == ([FULL, DELTA], [1, 2])
    before = mark_of(settings.COMMONFARM.mirror_map.parent / DELTA)
    write()
    assert signer.asked == [1, 2]
    assert mark_of(settings.COMMONFARM.mirror_map.parent / DELTA) == before
    assert signer.map().find(f"demo/{DEB}").mirrors == 1  # type: ignore[union-attr]
    give(north, tree, taken=(DEB,))
    write()
    assert signer.map().find(f"demo/{DEB}").mirrors == 0  # type: ignore[union-attr]
    assert list(MapWritten.objects.order_by("pk").values_list("base", flat=True)) == [0, 1, 1]


def test_new_replaced_and_removed_files_are_in_a_delta(
    tree: Tree, north: Mirror, signer: Signer
) -> None:
    give(north, tree, DEB, BY_HASH, IN_RELEASE)
    write()
    tree.publish("pool/b.deb", IN_RELEASE, removed=(DEB,))
    write()
    the_map = signer.map()
    assert (the_map.full_generation, the_map.trees["demo"].revision) == (1, 2)
    assert the_map.find(f"demo/{DEB}") is None
    assert the_map.find("demo/pool/b.deb").mirrors == 0  # type: ignore[union-attr]
    in_release = the_map.find(f"demo/{IN_RELEASE}")
    assert in_release is not None
    assert in_release.sha256.hex() == TreeFile.objects.get(pk=tree.number(IN_RELEASE)).sha256
    assert in_release.mirrors == 1, "it has the revision before, which is kept"
    alternates = the_map.hashes(f"demo/{IN_RELEASE}").alternates  # type: ignore[union-attr]
    assert [one.sha256.hex() for one in alternates] == [
        TreeFile.objects.get(path=IN_RELEASE, since_revision=1).sha256
    ]
    tree.publish(DEB)
    give(north, tree, DEB, "pool/b.deb")
    write()
    assert signer.map().find(f"demo/{DEB}").mirrors == 1  # type: ignore[union-attr]


def test_versions_that_are_kept_no_more_count_no_more(
    tree: Tree, north: Mirror, signer: Signer
) -> None:
    tree.row.keep_revisions = 2
    tree.row.save()
    give(north, tree, IN_RELEASE)
    write()
    for _ in range(2):
        tree.publish(IN_RELEASE)
    write()
    found = signer.map()
    assert found.find(f"demo/{IN_RELEASE}").mirrors == 1  # type: ignore[union-attr]
    assert len(found.hashes(f"demo/{IN_RELEASE}").alternates) == 2  # type: ignore[union-attr]
    tree.publish("one")
    tree.publish("other")
    write()
    found = signer.map()
    assert found.find(f"demo/{IN_RELEASE}").mirrors == 0  # type: ignore[union-attr]
    assert found.hashes(f"demo/{IN_RELEASE}").alternates == ()  # type: ignore[union-attr]


def test_mirrors_keep_their_numbers_until_the_next_full_map(
    tree: Tree, north: Mirror, signer: Signer
) -> None:
    give(north, tree, DEB)
    write()
    east = scanned(register("east", tree, "http://east.example.org/"))
    give(east, tree, DEB)
    north.remove(NOW, who="user:anna")
    write()
    the_map = signer.map()
    assert [(one.name, one.problem) for one in the_map.mirrors] == [
        ("north", mapwriter.REMOVED),
        ("east", ""),
    ]
    assert the_map.find(f"demo/{DEB}").mirrors == 0b10  # type: ignore[union-attr]
    mapping.write_full_map(NOW)
    assert [one.name for one in signer.map().mirrors] == ["east"]
    assert signer.map().find(f"demo/{DEB}").mirrors == 1  # type: ignore[union-attr]


def test_why_a_mirror_is_sent_nobody(tree: Tree, north: Mirror, signer: Signer) -> None:
    def problem() -> str:
        write()
        return signer.map().mirrors[0].problem

    assert problem() == ""
    north.disable(who="user:anna")
    assert problem() == "it is disabled"
    north.enable(who="user:anna")
    north.quarantine_for("piece 1 of x", NOW, who="process:worker")
    assert "piece 1 of x" in problem()
    north.lift_quarantine(who="user:anna", why="it was mended")
    north.budget_bytes = 100
    north.save()
    count = MirrorCount(day=NOW.date(), tree="demo", mirror="north", downloads=1)
    count.country, count.size = "DE", 99
    count.save()
    assert problem() == ""
    count.pk, count.country, count.size = None, "FR", 1
    count.save()
    assert problem() == "its budget of the day is used up"
    MirrorCount.objects.all().delete()
    failed = start_scan(north, 1, ScanKind.HTTP, north.http, NOW)
    failed.ok, failed.problem, failed.finished_at = False, "no index", NOW
    failed.save()
    assert problem() == "", "it was scanned well a short while ago"
    Scan.objects.filter(ok=True).update(finished_at=NOW - timedelta(days=2))
    assert problem() == "it cannot be scanned: no index"


def test_a_map_that_grew_is_followed_by_a_full_one(
    tree: Tree, north: Mirror, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapwriter, "MOST_CHANGES", 3)
    write()
    tree.publish("a", "b", "c")
    assert not mapping.write_map(NOW)
    tree.publish("d")
    assert mapping.write_map(NOW)
    assert signer.map().find("demo/d") is not None, "the delta serves meanwhile"
    mapping.write_full_map(NOW)
    assert files() == [FULL]
    assert signer.map().find("demo/d") is not None
    monkeypatch.setattr(mapwriter, "MOST_IN_DELTA", 1)
    tree.publish("e", "f")
    assert mapping.write_map(NOW)
    assert signer.map().find("demo/e") is None
    mapping.write_full_map(NOW)
    assert signer.map().find("demo/e") is not None


def test_a_mirror_that_changed_much_waits_for_the_full_map(
    tree: Tree, north: Mirror, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    east = scanned(register("east", tree, "http://east.example.org/"))
    give(east, tree, DEB, BY_HASH)
    write()
    monkeypatch.setattr(mapwriter, "MOST_CHANGES", 1)
    give(east, tree, taken=(DEB, BY_HASH))
    give(north, tree, DEB, BY_HASH)
    tree.publish("new")
    give(north, tree, "new")
    assert mapping.write_map(NOW)
    the_map = signer.map()
    assert [one.problem for one in the_map.mirrors] == [mapwriter.WAITS, ""]
    assert the_map.find(f"demo/{DEB}").mirrors == 0b01  # type: ignore[union-attr]
    assert the_map.find("demo/new").mirrors == 0b10  # type: ignore[union-attr]
    mapping.write_full_map(NOW)
    assert signer.map().find(f"demo/{DEB}").mirrors == 0b10  # type: ignore[union-attr]


def test_what_a_scan_saw_while_a_full_map_was_made_is_not_lost(
    tree: Tree, north: Mirror, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sign(generation: int, *, delta: bool) -> bytes:
        if not delta:
            tree.publish("pool/b.deb")
            give(north, tree, "pool/b.deb")
            mapping.write_map(NOW)
        return signer.sign(generation, delta=delta)

    write()
    give(north, tree, DEB)
    write()
    monkeypatch.setattr(mapping, "sign_mirror_map", sign)
    mapping.write_full_map(NOW)
    the_map = signer.map()
    assert (the_map.full_generation, the_map.generation) == (3, 5)
    assert the_map.find("demo/pool/b.deb").mirrors == 1  # type: ignore[union-attr]


def test_one_odd_mirror_does_not_keep_a_map_from_being_made(
    tree: Tree, north: Mirror, signer: Signer
) -> None:
    odd = scanned(register("odd", tree, "http://odd.example.org/"))
    write()
    Mirror.objects.filter(pk=odd.pk).update(country="Ge")
    give(north, tree, DEB)
    write()
    assert [(one.name, one.problem) for one in signer.map().mirrors] == [
        ("north", ""),
        ("odd", mapwriter.REMOVED),
    ]
    mapping.write_full_map(NOW)
    assert [one.name for one in signer.map().mirrors] == ["north"]


def test_one_full_map_at_a_time(tree: Tree, north: Mirror, signer: Signer) -> None:
    place = connection.settings_dict
    with psycopg.connect(
        host=place["HOST"], port=place["PORT"], dbname=place["NAME"], user=place["USER"]
    ) as other:
        other.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", [mapping.FULL_LOCK])
        with pytest.raises(BusyError):
            mapping.write_full_map(NOW)
    wait_until_free()
    assert signer.asked == []


def spoil(name: str) -> None:
    (settings.COMMONFARM.mirror_map.parent / name).write_bytes(b"rubbish")


def lose(name: str) -> None:
    (settings.COMMONFARM.mirror_map.parent / name).unlink()


@pytest.mark.parametrize("ruin", [spoil, lose])
@pytest.mark.parametrize("name", [FULL, DELTA])
def test_a_map_file_that_was_lost_or_spoiled_is_written_again(
    tree: Tree, north: Mirror, signer: Signer, ruin: Callable[[str], None], name: str
) -> None:
    write()
    give(north, tree, DEB)
    write()
    ruin(name)
    write()
    assert signer.map().find(f"demo/{DEB}").mirrors == 1  # type: ignore[union-attr]


def test_the_old_map_stays_while_the_signer_is_away_or_the_disk_is_full(
    tree: Tree, north: Mirror, signer: Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(generation: int, *, delta: bool) -> bytes:
        raise UnreachableError(Reason("signer-unreachable", "the signer does not answer"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    write()
    tree.publish("a")
    for name, fault in (("sign_mirror_map", away), ("stage", full)):
        with monkeypatch.context() as patch:
            patch.setattr(mapping, name, fault)
            with pytest.raises((UnreachableError, OSError)):
                mapping.write_map(NOW)
            with pytest.raises((UnreachableError, OSError)):
                mapping.write_full_map(NOW)
        assert (signer.map().generation, signer.map().delta_problem) == (1, "")
    write()
    assert signer.map().find("demo/a") is not None
    assert not MapWritten.objects.filter(base__gt=0, digest="").exists()
    mapping.write_full_map(NOW)
    assert not MapWritten.objects.filter(digest="").exists()


def test_a_generation_is_beyond_that_of_the_map_in_force(
    tree: Tree, north: Mirror, signer: Signer
) -> None:
    write()
    MapWritten.objects.all().delete()  # as after a restore from before
    tree.publish("a")
    write()
    assert signer.map().generation == 2


@how(deadline=None, max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["publish", "remove", "hold", "lose", "metadata", "full"]),
            st.integers(0, 5),
            st.integers(0, 1),
        ),
        min_size=1,
        max_size=7,
    )
)
def test_a_delta_on_its_base_says_what_a_full_map_would(
    tree: Tree, north: Mirror, signer: Signer, steps: list[tuple[str, int, int]]
) -> None:
    mirrors = [north, Mirror.objects.filter(name="east").first()]
    if mirrors[1] is None:
        mirrors[1] = scanned(register("east", tree, "http://east.example.org/"))
    write()
    for action, number, which in steps:
        path, mirror = f"p/{number}", mirrors[which]
        there = tree.current().filter(path=path).exists()
        assert mirror is not None
        match action:
            case "publish" if not there:
                tree.publish(path)
            case "remove" if there:
                tree.publish(removed=(path,))
            case "metadata":
                tree.publish(IN_RELEASE)
                give(mirror, tree, IN_RELEASE)
            case "hold" | "lose" if there:
                give(mirror, tree, *([path] if action == "hold" else []), taken=(path,))
            case "full":
                mapping.write_full_map(NOW)
        write()
    by_delta = signer.map()
    mapping.write_full_map(NOW)
    whole = signer.map()
    names = {f"demo/{path}" for path in TreeFile.objects.values_list("path", flat=True)}
    for name in names:
        one, other = by_delta.find(name), whole.find(name)
        assert (one is None) == (other is None), name
        if one is not None and other is not None:
            assert one.sha256 == other.sha256
            assert _holders(by_delta.mirrors, one) == _holders(whole.mirrors, other), name
            assert by_delta.hashes(name) == whole.hashes(name), name


def _holders(mirrors: object, file: File) -> set[str]:
    return {one.name for bit, one in enumerate(mirrors) if file.mirrors >> bit & 1}  # type: ignore[var-annotated,arg-type]
