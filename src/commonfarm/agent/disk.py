"""The writable layer of a sandbox, bounded in size, and the overlay over a base root.

The layer is a sparse ext4 image on a loop device: its size is the disk limit on every kernel, and
throwing it away is one unlink, whatever a build made inside. Where there is no loop device, the
layer is a plain directory and `used_bytes` is watched instead.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from contextlib import suppress
from pathlib import Path

from commonfarm.agent.errors import BrokenError
from commonfarm.agent.oci import FIRST_ID

_SMALLEST = 16 * 2**20


def _run(*command: str) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise BrokenError(f"{command[0]} failed: {done.stderr.strip() or done.stdout.strip()}")


def mounts_below(folder: Path) -> list[Path]:
    """Return what is mounted at or below `folder`, the latest mount first."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines():
        path = Path(line.split()[4].encode("ascii", "replace").decode("unicode_escape"))
        if path == folder or folder in path.parents:
            found.append(path)
    return found[::-1]


def unmount_below(folder: Path) -> None:
    """Unmount everything at or below `folder`; raise BrokenError if something will not go."""
    for path in mounts_below(folder):
        _run("umount", str(path))


class Layer:
    """One job's writable layer below `folder`; use as a context manager.

    `root` is the merged tree while it is mounted. `size_bytes` bounds it if `sized`.
    """

    def __init__(self, folder: Path, base: Path, size_bytes: int, sized: bool) -> None:
        self.root = folder / "root"
        self._base = base
        self._image = folder / "layer.img"
        self._disk = folder / "layer"
        self._size = max(size_bytes, _SMALLEST)
        self._sized = sized

    def __enter__(self) -> Layer:
        self._disk.mkdir(mode=0o711)
        self.root.mkdir(mode=0o755)
        try:
            if self._sized:
                _make_image(self._image, self._size)
                _run("mount", "-o", "loop,nodev,nosuid,noatime", str(self._image), str(self._disk))
                self._disk.chmod(0o711)
            for name in ("upper", "work"):
                (self._disk / name).mkdir(mode=0o755)
                os.chown(self._disk / name, FIRST_ID, FIRST_ID)
            options = f"lowerdir={self._base},upperdir={self._disk}/upper,workdir={self._disk}/work"
            _run(
                "mount", "-t", "overlay", "-o", f"{options},nodev,nosuid", "overlay", str(self.root)
            )
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        unmount_below(self.root)
        if self._sized:
            unmount_below(self._disk)
            with suppress(FileNotFoundError):
                self._image.unlink()
        shutil.rmtree(self._disk)
        self.root.rmdir()

    @property
    def limit_bytes(self) -> int:
        """How much may be written."""
        return self._size

    def used_bytes(self) -> int:
        """Return how much is written, in bytes on disk."""
        if self._sized:
            found = os.statvfs(self._disk)
            return (found.f_blocks - found.f_bfree) * found.f_frsize
        done = subprocess.run(
            ["du", "-skx", "--", str(self._disk / "upper")], capture_output=True, check=False
        )
        return int(done.stdout.split(b"\t")[0] or 0) * 1024

    def is_full(self) -> bool:
        """Say whether the limit is reached, but for what a file system keeps to itself."""
        if self._sized:
            found = os.statvfs(self._disk)
            return (
                found.f_bavail * found.f_frsize < max(self._size // 100, 2**20) or not found.f_ffree
            )
        return self.used_bytes() >= self._size


def _make_image(image: Path, size: int) -> None:
    with image.open("xb") as file:
        os.fchmod(file.fileno(), 0o600)
        file.truncate(size)
    # No journal: after a power cut the layer is thrown away. One inode per 8 KiB: builds make
    # many small files.
    _run(
        "mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-i", "8192",
        "-O", "^has_journal", "-E", "lazy_itable_init=1,nodiscard", str(image),
    )  # fmt: skip


def can_limit(folder: Path) -> bool:
    """Say whether a sized layer really stops what is written to it; tries it in `folder`."""
    image, mounted = folder / "probe.img", folder / "probe"
    mounted.mkdir()
    try:
        _make_image(image, _SMALLEST)
        _run("mount", "-o", "loop,nodev,nosuid", str(image), str(mounted))
        with (mounted / "file").open("wb", buffering=0) as file:
            for _ in range(_SMALLEST // 2**20 + 1):
                if file.write(bytes(2**20)) < 2**20:
                    return True
    except (BrokenError, OSError) as error:
        return isinstance(error, OSError) and error.errno == errno.ENOSPC
    finally:
        unmount_below(mounted)
    return False
