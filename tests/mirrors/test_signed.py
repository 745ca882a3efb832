"""The real signer signs a true map, and refuses one that names what was never published."""

from __future__ import annotations

import pytest

from commonfarm.archive.models import TreeFile
from commonfarm.lib.config import Config
from commonfarm.lib.errors import RefusedError
from commonfarm.mirrors import reconcile
from commonfarm.mirrors.models import MapWritten, Mirror
from commonfarm.redirector.mirror_map import read, read_key
from tests.archive.conftest import installation, world  # noqa: F401 - fixtures
from tests.archive.conftest import signer as signer_process  # noqa: F401 - a fixture
from tests.mirrors.conftest import DEB, NOW, Tree
from tests.mirrors.web import Web

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_map_is_signed_by_the_signer_for_the_redirector(
    signer_process: Config,  # noqa: F811
    web: Web,
) -> None:
    tree = Tree()
    tree.publish(DEB)
    tree.fill(web)
    mirror = Mirror.add("north", tree.row, url=web.url, country="DE", rsync_url="", who="user:anna")
    assert reconcile.scan(mirror.pk, lambda: NOW) is not None
    assert reconcile.write_map(NOW) == 1
    key = read_key(signer_process.public_keys / "statements.pub")
    the_map = read(signer_process.mirror_map, key)
    assert (the_map.generation, the_map.trees["demo"][DEB].mirrors) == (1, frozenset({0}))

    # A map made from rows that somebody forged, and mended meanwhile, is not signed.
    file = TreeFile.objects.get(path=DEB)
    file.path = "pool/forged.deb"
    file.save()
    web.put(file.path, tree.data(DEB))
    assert reconcile.scan(mirror.pk, lambda: NOW) is not None
    fresh = reconcile._compile()
    file.path = DEB
    file.save()
    newest = reconcile._record(fresh, "00" * 32, MapWritten.objects.get(), NOW)
    with pytest.raises(RefusedError, match=r"pool/forged\.deb .*not published"):
        reconcile._install(newest)
    assert read(signer_process.mirror_map, key).generation == 1
    assert reconcile.write_map(NOW) == 3
    assert set(read(signer_process.mirror_map, key).trees["demo"]) == {DEB}
