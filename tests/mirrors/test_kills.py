"""A worker killed by -9 between any two steps loses nothing and leaves nothing half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.db import connection

from commonfarm.mirrors import reconcile
from commonfarm.mirrors.models import MapWritten, Mirror
from tests.mirrors.conftest import DEB, NOW, Signer

KILLED = """
import os, sys
from datetime import UTC, datetime
from unittest import mock
import django
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[1]
django.setup()
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from commonfarm.mirrors import reconcile
from commonfarm.mirrors.models import MapWritten
from commonfarm.redirector.mirror_map import to_be_signed
from commonfarm.store.interface import read

key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(os.environ["TEST_KEY"]))
reconcile.sign_mirror_map = lambda number: key.sign(
    to_be_signed(read(MapWritten.objects.get(generation=number).blob_id)))
now = lambda: datetime(2026, 1, 1, tzinfo=UTC)
print("ready", flush=True)
with mock.patch(sys.argv[2], lambda *_, **__: os.kill(os.getpid(), 9)):
    reconcile.scan(int(sys.argv[3]), now)
    reconcile.write_map(now())
"""

STEPS = {
    "before the scan's row": "commonfarm.mirrors.models.Scan.start",
    "before anything is asked": "commonfarm.mirrors.scanner.scan",
    "before the scan is written down": "commonfarm.mirrors.models.Scan.finish",
    "after the scan": "commonfarm.mirrors.reconcile.write_map",
    "before the payload is stored": "commonfarm.mirrors.reconcile.put_bytes",
    "before the map's row": "commonfarm.mirrors.models.MapWritten.objects.create",
    "before the row commits": "commonfarm.mirrors.reconcile.record",
    "before it is signed": "commonfarm.mirrors.reconcile._install",
    "before it is written": "commonfarm.redirector.mirror_map.write",
    "before it is switched": "pathlib.Path.replace",
    "after it is switched": "commonfarm.redirector.mirror_map.os.open",
}


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_the_next_worker_goes_on(step: str, mirror: Mirror, signer: Signer) -> None:
    raw = signer.key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    done = subprocess.run(
        [sys.executable, "-c", KILLED, connection.settings_dict["NAME"], step, str(mirror.pk)],
        env={**os.environ, "TEST_KEY": raw.hex()},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("ready\n", -signal.SIGKILL), done.stderr
    if settings.COMMONFARM.mirror_map.exists():
        assert signer.map().generation == 1
    for due in reconcile.due(NOW):
        assert reconcile.scan(due.pk, lambda: NOW) is not None
    assert reconcile.write_map(NOW) == 1
    assert signer.map().trees["demo"][DEB].mirrors == {0}
    assert MapWritten.objects.count() == 1
    assert [scan.ok for scan in mirror.scans.exclude(ok=None)] == [True]
    assert not mirror.scans.filter(finished_at=None).exists()
    assert list(settings.COMMONFARM.mirror_map.parent.iterdir()) == [settings.COMMONFARM.mirror_map]
