"""The real signer signs a true map, and refuses one that names what was never published."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest
from django.db.models import QuerySet

from commonfarm.archive.models import TreeFile
from commonfarm.lib.config import Config
from commonfarm.lib.errors import RefusedError
from commonfarm.mirrors.mapwriter import Facts
from commonfarm.mirrors.steps import mapping, scan
from commonfarm.redirector.mirror_map import load, read_key
from commonfarm.redirector.mirror_map.writing import Payload, stage
from tests.archive.conftest import installation, world  # noqa: F401 - fixtures
from tests.archive.conftest import signer as signer_process  # noqa: F401 - a fixture
from tests.mirrors.conftest import DEB, NOW, Tree, register
from tests.mirrors.web import Web

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_map_is_signed_by_the_signer_for_the_redirector(
    signer_process: Config,  # noqa: F811
    web: Web,
) -> None:
    tree = Tree()
    tree.publish(DEB)
    tree.fill(web)
    mirror = register("north", tree, web.url)
    assert scan.scan(mirror.pk, lambda: NOW) is not None
    assert mapping.write_full_map(NOW) == 1
    key = read_key(signer_process.public_keys / "statements.pub")
    folder = signer_process.mirror_map.parent
    assert load(folder, key).find(f"demo/{DEB}").mirrors == 1  # type: ignore[union-attr]
    tree.publish("pool/b.deb")
    assert mapping.write_map(NOW) is False
    the_map = load(folder, key)
    assert (the_map.generation, the_map.delta_problem) == (2, "")

    # A map made from rows that somebody forged, and mended meanwhile, is not signed.
    tree.publish("pool/c.deb")
    gather = mapping.gather
    for write, path in ((mapping.write_map, "pool/c.deb"), (mapping.write_full_map, DEB)):
        rows = TreeFile.objects.filter(pk=tree.number(path))

        def forged(now: datetime, rows: QuerySet[TreeFile] = rows) -> Facts:
            rows.update(path="pool/forged.deb")
            return gather(now)

        def mended(
            folder: Path, payload: Payload, rows: QuerySet[TreeFile] = rows, path: str = path
        ) -> Path:
            rows.update(path=path)
            return stage(folder, payload)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mapping, "gather", forged)
            patch.setattr(mapping, "stage", mended)
            with pytest.raises(RefusedError, match=r"says of demo/.* what is not published"):
                write(NOW)
        assert load(folder, key).generation == 2
    mapping.write_map(NOW)
    assert load(folder, key).find("demo/pool/c.deb") is not None
