"""A worker killed by -9 between any two steps loses nothing and leaves nothing half done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.conf import settings
from django.db import OperationalError, connection

from commonfarm.mirrors.holdings import bits_of
from commonfarm.mirrors.models import Mirror
from commonfarm.mirrors.scanning import Listed, list_http
from commonfarm.mirrors.steps import mapping, scan
from commonfarm.redirector.mirror_map import FULL
from tests.locks import wait_until_free
from tests.mirrors.conftest import DEB, NOW, Signer, Tree

KILLED = """
import os, sys
from datetime import UTC, datetime
from unittest import mock
import django
from django.conf import settings
settings.DATABASES["default"]["NAME"] = sys.argv[1]
django.setup()
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from commonfarm.mirrors.steps import mapping, scan
from commonfarm.redirector.mirror_map import to_be_signed
from commonfarm.redirector.mirror_map.unsigned import read_unsigned

key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(os.environ["TEST_KEY"]))
folder = settings.COMMONFARM.mirror_map.parent
mapping.sign_mirror_map = lambda number, delta: key.sign(
    to_be_signed(read_unsigned(folder / (".delta.new" if delta else ".current.new")).header))
now = lambda: datetime(2026, 1, 1, tzinfo=UTC)
print("ready", flush=True)
with mock.patch(sys.argv[2], lambda *_, **__: os.kill(os.getpid(), 9)):
    scan.scan(int(sys.argv[3]), now)
    if mapping.write_map(now()):
        mapping.write_full_map(now())
"""

STEPS = {
    "before the holdings commit": "commonfarm.mirrors.holdings._succeed",
    "before it is signed": "commonfarm.mirrors.steps.mapping.sign_mirror_map",
    "before it is switched": "pathlib.Path.replace",
    "before its row is finished": "commonfarm.mirrors.steps.mapping._finish",
}
IN_A_DELTA = ["commonfarm.mirrors.steps.mapping.sign_mirror_map"]


def kill(step: str, mirror: Mirror, signer: Signer) -> None:
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
    wait_until_free()


def go_on(mirror: Mirror) -> None:
    for due in scan.due(NOW):
        assert scan.scan(due.pk, lambda: NOW) is not None
    if mapping.write_map(NOW):
        mapping.write_full_map(NOW)


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_the_next_worker_goes_on(step: str, mirror: Mirror, signer: Signer) -> None:
    kill(step, mirror, signer)
    if settings.COMMONFARM.mirror_map.exists():
        assert signer.map().full_generation == 1
    go_on(mirror)
    assert signer.map().find(f"demo/{DEB}").mirrors == 1  # type: ignore[union-attr]
    assert [scan.ok for scan in mirror.scans.exclude(ok=None)] == [True]
    assert not mirror.scans.filter(finished_at=None).exists()
    assert [file.name for file in settings.COMMONFARM.mirror_map.parent.iterdir()] == [FULL]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("step", IN_A_DELTA)
def test_a_delta_that_was_cut_off_is_made_again(
    step: str, mirror: Mirror, signer: Signer, tree: Tree
) -> None:
    go_on(mirror)
    tree.publish("pool/b.deb")
    kill(step, mirror, signer)
    assert signer.map().full_generation == 1
    assert signer.map().delta_problem == ""
    go_on(mirror)
    assert signer.map().find("demo/pool/b.deb") is not None
    assert not (settings.COMMONFARM.mirror_map.parent / ".delta.new").exists()


@pytest.mark.django_db(transaction=True)
def test_a_scan_that_loses_the_database_is_made_again(
    mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert scan.scan(mirror.pk, lambda: NOW) is not None
    before = bits_of(mirror)

    def listed(*arguments: Any) -> Iterator[Listed]:
        yield from list_http(*arguments)
        [number] = connection.connection.execute("SELECT pg_backend_pid()").fetchone()
        with psycopg.connect(**connection.get_connection_params()) as other:
            other.execute("SELECT pg_terminate_backend(%s)", [number])

    with monkeypatch.context() as patch:
        patch.setattr(scan, "list_http", listed)
        with pytest.raises(OperationalError):
            scan.scan(mirror.pk, lambda: NOW)
    connection.close_if_unusable_or_obsolete()
    assert bits_of(mirror) == before
    assert scan.scan(mirror.pk, lambda: NOW) is not None
    assert [(one.ok, bool(one.problem)) for one in mirror.scans.order_by("pk")] == [
        *((True, False), (None, True), (True, False))
    ]
