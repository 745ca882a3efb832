"""The keys of several entries become one binary keyring."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from commonfarm.estate import keyrings
from commonfarm.estate.apt import PackageSource
from commonfarm.estate.keyrings import keyring_of
from commonfarm.lib.errors import RefusedError
from tests.farm.packages import Signer


def source(signed_by: object = "") -> PackageSource:
    return PackageSource("http://deb.example.org/", "bookworm", ("main",), str(signed_by))


def keys(keyring: Path) -> set[str]:
    """Return the fingerprints that gpg finds in a keyring."""
    shown = subprocess.run(
        ["gpg", "--batch", "--show-keys", "--with-colons", keyring],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return {line.split(":")[9] for line in shown.stdout.splitlines() if line.startswith("fpr:")}


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> tuple[Signer, Signer]:
    home = tmp_path_factory.mktemp("k")
    return Signer.make(home / "a"), Signer.make(home / "b")


def test_one_binary_file_is_used_as_it_is(tmp_path: Path, signers: tuple[Signer, Signer]) -> None:
    one = signers[0].keyring
    assert keyring_of([source(one), source(one)], tmp_path) == one
    assert list(tmp_path.iterdir()) == []


def test_armoured_ones_and_several_become_one(
    tmp_path: Path, signers: tuple[Signer, Signer]
) -> None:
    first, second = signers
    armoured = first.armoured_keyring()
    alone = keyring_of([source(armoured)], tmp_path / "new")
    assert keys(alone) == {first.fingerprint}
    block = armoured.read_text().replace("\n\n", "\n.\n", 1).replace("\n.\n", "\n\n")
    both = keyring_of([source(second.keyring), source(block)], tmp_path / "new")
    assert keys(both) == {first.fingerprint, second.fingerprint}
    listed = keyring_of([source(f"{second.keyring},{armoured}")], tmp_path / "new")
    assert listed == both, "named by its content"
    assert both.stat().st_mode & 0o777 == 0o644
    assert sorted(tmp_path.joinpath("new").iterdir()) == sorted({alone, both}), "no leftovers"


def test_without_a_keyring_it_is_debians(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = tmp_path / "archive.gpg"
    monkeypatch.setattr(keyrings, "ARCHIVE_KEYRINGS", [tmp_path / "gone.gpg", archive])
    with pytest.raises(RefusedError, match="apt-get install debian-archive-keyring"):
        keyring_of([source()], tmp_path)
    archive.write_bytes(b"keys")
    assert keyring_of([source()], tmp_path) == archive
    assert keyring_of([source("0123456789ABCDEF0123456789ABCDEF01234567")], tmp_path) == archive


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match=r"gone.gpg cannot be read: No such file"):
        keyring_of([source(tmp_path / "gone.gpg")], tmp_path)
    damaged = tmp_path / "damaged.asc"
    damaged.write_text(
        "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n%%%\n-----END PGP PUBLIC KEY BLOCK-----\n"
    )
    with pytest.raises(RefusedError, match="is damaged"):
        keyring_of([source(damaged)], tmp_path)
