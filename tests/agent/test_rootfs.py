"""Base roots by the real mmdebstrap, and the isolated apt."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from commonfarm.agent import packages, rootfs
from commonfarm.agent.disk import mounts_below
from commonfarm.agent.errors import BrokenError, CancelledError
from commonfarm.agent.oci import FIRST_ID
from commonfarm.agent.packages import Apt, Solution
from commonfarm.agent.protocol import Buildroot
from commonfarm.agent.rootfs import BaseRoot, base_root
from commonfarm.agent.state import State

pytestmark = [pytest.mark.root, pytest.mark.network]


def test_a_clean_root_checks_dates_whatever_the_host_does(
    state: State, buildroot: Buildroot, root: BaseRoot
) -> None:
    dumped = subprocess.run(
        ["chroot", root.tree, "apt-config", "dump"], capture_output=True, text=True, check=True
    ).stdout
    assert 'Check-Valid-Until "false"' not in dumped
    assert 'Check-Date "false"' not in dumped
    ours = subprocess.run(
        ["apt-config", "dump"],
        env={**os.environ, "APT_CONFIG": str(state.apt / packages.key_of(buildroot) / "apt.conf")},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert 'Acquire::Check-Valid-Until "true";' in ours
    assert 'Acquire::Check-Date "true";' in ours
    assert "Post-Invoke" not in ours  # nothing else of the host's configuration either


def test_a_clean_root_has_nothing_of_this_host(root: BaseRoot, state: State) -> None:
    assert (root.tree / "etc/hostname").read_text() == "builder\n"
    assert (root.tree / "etc/resolv.conf").read_text() == ""
    assert not (root.tree / "etc/apt/apt.conf.d/99mmdebstrap").exists()
    assert str(state.root) not in (root.tree / "etc/apt/sources.list").read_text()
    assert "build-essential" in " ".join(root.packages)
    assert root.digest == packages.digest(root.packages)


def test_every_file_belongs_to_the_sandbox_and_set_id_bits_stay(root: BaseRoot) -> None:
    owners = {
        os.lstat(f"{folder}/{name}").st_uid
        for folder, names, files in os.walk(root.tree)
        for name in [*names, *files]
    }
    assert min(owners) >= FIRST_ID
    assert max(owners) < FIRST_ID + 65536
    assert (root.tree / "usr/bin/su").stat().st_mode & 0o4000
    assert (root.tree / "build").stat().st_uid == FIRST_ID + 1000


def test_a_folder_that_cannot_be_read_is_no_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "usr/bin").mkdir(parents=True)
    scandir = os.scandir

    def without_bin(path: str) -> object:
        if str(path).endswith("/bin"):
            raise OSError(5, "Input/output error", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", without_bin)
    with pytest.raises(OSError, match="Input/output error"):
        rootfs._shift(tmp_path)


def test_a_root_is_used_again_while_no_upgrade_would_change_it(
    state: State, buildroot: Buildroot, root: BaseRoot
) -> None:
    said: list[bytes] = []
    with base_root(state, buildroot, said.append, lambda: None) as again:
        assert again.tree == root.tree
    assert said == []


def test_an_old_root_is_made_anew_and_pruned_when_nobody_uses_it(
    state: State, buildroot: Buildroot, root: BaseRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = f"{packages.key_of(buildroot)}-{rootfs.INSTALLER_VERSION}"

    def copy(_state: State, *_: object) -> Path:
        made = state.roots / f"{key}-copy"
        # cp -a, since a root has device nodes: they are made anew, not read.
        subprocess.run(["cp", "-a", root.tree.parent, made], check=True)
        return made

    monkeypatch.setattr(rootfs, "_make", copy)  # one bootstrap a session is enough
    status = root.status.read_text()
    # One that nothing asks a version of: apt would not judge a root that is broken.
    older = re.sub(r"(\nPackage: make\n(?:\S.*\n|\s.*\n)*?Version: )", r"\g<1>0~", status)
    assert older != status
    root.status.write_text(older)
    said: list[bytes] = []
    try:
        with base_root(state, buildroot, said.append, lambda: None) as newer:
            assert newer.tree != root.tree
            rootfs.prune(state)
            assert root.tree.exists()  # the session's fixture uses it
        assert b"an upgrade would change" in b"".join(said)
    finally:
        root.status.write_text(status)
        link = state.roots / key
        link.unlink()
        link.symlink_to(root.tree.parent.name)
    rootfs.prune(state)
    assert not newer.tree.exists()
    assert root.tree.exists()


def test_a_root_that_is_given_up_leaves_nothing(empty_state: State, buildroot: Buildroot) -> None:
    empty_state.prepare()

    def check() -> None:
        if list(empty_state.roots.glob("*-making-*/tree/usr")):
            raise CancelledError("no more")

    with pytest.raises(CancelledError), base_root(empty_state, buildroot, lambda _: None, check):
        pass
    assert mounts_below(empty_state.root) == []
    assert [path.name for path in empty_state.roots.iterdir() if path.is_dir()] == []


def test_a_wrong_keyring_is_the_builders_trouble_in_apts_words(
    empty_state: State, buildroot: Buildroot
) -> None:
    empty_state.prepare()
    with pytest.raises(BrokenError, match=r"NO_PUBKEY|not signed|no valid|Sub-process"):
        with base_root(empty_state, replace(buildroot, keyring=""), lambda _: None, lambda: None):
            pass


def test_a_mirror_that_is_away_is_the_networks_trouble(
    empty_state: State, buildroot: Buildroot
) -> None:
    empty_state.prepare()
    [source] = buildroot.package_sources
    away = replace(buildroot, package_sources=[replace(source, uri="http://127.0.0.1:1/debian")])
    with pytest.raises(BrokenError, match="package lists cannot be fetched"):
        with base_root(empty_state, away, lambda _: None, lambda: None):
            pass


def test_the_archive_cache_is_pruned_oldest_first(state: State, buildroot: Buildroot) -> None:
    apt = Apt(state, buildroot, lambda: None)
    for age, name in enumerate(["new.deb", "old.deb"]):
        (apt.archives / name).write_bytes(b"x" * 10)
        os.utime(apt.archives / name, (10**9 - age, 10**9 - age))
    kept = sum(f.stat().st_size for f in apt.archives.glob("*.deb")) - 10
    apt.prune(kept)
    assert not (apt.archives / "old.deb").exists()
    assert (apt.archives / "new.deb").exists()
    (apt.archives / "new.deb").unlink()


def test_nothing_to_do_is_empty() -> None:
    assert Solution([], []).is_empty
    assert not Solution([], ["x"]).is_empty
