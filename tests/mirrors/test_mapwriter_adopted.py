"""The map of a tree that something else fills, and whose files are hashed little by little."""

from __future__ import annotations

import pytest
from django.db import OperationalError

from commonfarm.archive.models import TreeFile
from commonfarm.mirrors.models import Mirror
from commonfarm.mirrors.steps import mapping
from tests.mirrors.conftest import DEB, NOW, Signer, Tree
from tests.mirrors.test_mapwriter import give, north, write  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db


def test_hashes_follow_as_they_become_known(
    tree: Tree,
    north: Mirror,  # noqa: F811
    signer: Signer,
) -> None:
    tree.row.adopts = "/srv/files"
    tree.row.save()
    known = dict(TreeFile.objects.values_list("path", "sha256"))
    TreeFile.objects.update(sha256="", blob=None)
    give(north, tree, DEB)
    write()
    the_map = signer.map()
    assert the_map.trees["demo"].folder == "/srv/files"
    assert the_map.find(f"demo/{DEB}").sha256 == b""  # type: ignore[union-attr]
    assert the_map.find(f"demo/{DEB}").mirrors == 1  # type: ignore[union-attr]
    TreeFile.objects.filter(path=DEB).update(sha256=known[DEB])
    write()
    found = signer.map().find(f"demo/{DEB}")
    assert found is not None
    assert (found.sha256.hex(), found.mirrors) == (known[DEB], 1)
    assert signer.asked == [1, 2]
    write()
    assert signer.asked == [1, 2]


def test_the_map_in_force_stays_while_the_database_is_gone(
    tree: Tree,
    north: Mirror,  # noqa: F811
    signer: Signer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise OperationalError("the connection is lost")

    write()
    tree.publish("a")
    for name in ("mapwriter.delta", "mapwriter.full", "_take"):
        with monkeypatch.context() as patch:
            patch.setattr(f"commonfarm.mirrors.steps.mapping.{name}", gone)
            with pytest.raises(OperationalError):
                mapping.write_map(NOW)
                mapping.write_full_map(NOW)
        assert (signer.map().full_generation, signer.map().delta_problem) == (1, "")
    write()
    assert signer.map().find("demo/a") is not None
