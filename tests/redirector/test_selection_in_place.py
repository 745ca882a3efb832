"""Files whose bytes change while the name stays: ours to serve, with mirrors in lists."""

from __future__ import annotations

import pytest

from commonfarm.redirector.reasons import Why
from commonfarm.redirector.selection import Selector, changes_in_place
from tests.redirector.atlas import DEB, NOON, client, file, mirror, world


@pytest.mark.parametrize(
    ("path", "in_place"),
    [
        ("demo/dists/bookworm/InRelease", True),
        ("demo/dists/bookworm/Release", True),
        ("demo/dists/bookworm/Release.gpg", True),
        ("demo/dists/bookworm/main/binary-amd64/Packages.xz", True),
        ("demo/dists/bookworm/main/binary-amd64/by-hash/SHA256/00ff", False),
        ("demo/dists/bookworm/by-hash/InRelease", False),
        ("demo/flat/Packages", True),
        ("demo/flat/Packages.gz", True),
        ("demo/flat/Sources.zst", True),
        ("demo/rpm/repodata/repomd.xml", True),
        ("demo/rpm/repodata/repomd.xml.asc", True),
        ("demo/rpm/repodata/00ff-primary.xml.gz", False),
        ("demo/flat/Translation-en.bz2", True),
        ("demo/pool/main/r/release/Release-notes_1_all.deb", False),
        ("demo/pool/main/h/hello/hello_2.10-3_amd64.deb", False),
        ("demo/iso/InRelease.iso", False),
    ],
)
def test_which_names_change_in_place(path: str, in_place: bool) -> None:
    assert changes_in_place(path) is in_place


def test_what_changes_in_place_is_never_redirected_but_listed() -> None:
    selector = Selector(world([mirror("de"), mirror("fr", "FR")], {DEB: file([0], changes=True)}))
    choice = selector.explain(DEB, client("DE"), NOON, {})
    assert (choice.mirror, choice.reason.code) == (None, Why.CHANGES_IN_PLACE)
    assert {one.name: reason.code for one, reason in choice.excluded} == {
        "de": Why.CHANGES_IN_PLACE,
        "fr": Why.MISSING,
    }
    listed = selector.choose(DEB, client("DE"), NOON, {}, for_list=True)
    assert [one.name for one in listed.mirrors] == ["de"]
