"""A real worker and a real signer, from a registered mirror to a map that sends people there."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from django.db import transaction

from commonfarm.lib.config import Config
from commonfarm.mirrors import tasks
from commonfarm.mirrors.models import Mirror
from commonfarm.redirector.mirror_map import File, MapError, load, read_key
from tests.archive.conftest import installation, world  # noqa: F401 - fixtures
from tests.archive.conftest import signer as signer_process  # noqa: F401 - a fixture
from tests.archive.test_worker import Worker, wait_for, worker  # noqa: F401 - a fixture
from tests.mirrors.conftest import DEB, IN_RELEASE, Tree, register
from tests.mirrors.web import Web

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_mirror_that_is_proved_gets_clients_and_new_files_at_once(
    signer_process: Config,  # noqa: F811
    worker: Worker,  # noqa: F811
    web: Web,
) -> None:
    def found(path: str) -> File | None:
        try:
            key = read_key(signer_process.public_keys / "statements.pub")
            return load(signer_process.mirror_map.parent, key).find(f"demo/{path}")
        except (MapError, OSError):
            return None

    def is_redirected(path: str) -> bool:
        file = found(path)
        return file is not None and file.mirrors == 1

    now = datetime.now(UTC)
    tree = Tree()
    tree.publish(DEB, IN_RELEASE, at=now)
    tree.fill(web)
    mirror = register("north", tree, web.url)
    Mirror.objects.update(answers=0, probed_at=None)
    worker.start()
    with transaction.atomic():
        for want in (tasks.want_probe, tasks.want_scan):
            want(mirror)
        tasks.want_map()
    wait_for(lambda: is_redirected(DEB), worker)
    wait_for(lambda: is_redirected(IN_RELEASE), worker)
    mirror.refresh_from_db()
    assert mirror.answers == 1

    with transaction.atomic():
        tree.publish("pool/b.deb", at=datetime.now(UTC))
        tasks.tree_published(tree.row, 2)
    wait_for(lambda: found("pool/b.deb"), worker)
    web.put("pool/b.deb", tree.data("pool/b.deb"))
    since = time.monotonic()
    wait_for(lambda: is_redirected("pool/b.deb"), worker)
    print(f"redirected {time.monotonic() - since:.1f} s after the mirror had it")
