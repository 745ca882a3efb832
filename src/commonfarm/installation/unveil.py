"""Lets other users reach what lies below a folder closed to them, and only that.

The checkout may be below `/root`, or a private temporary folder, and the interpreter of the venv
too. As root we then take a mount namespace of our own, in which each closed folder on the way is
covered by an empty open one holding just what is needed, at the same path as before. Paths stay
true everywhere, nothing changes for anybody outside, and all is gone with our last process.
"""

from __future__ import annotations

import ctypes
import os
import stat
import sys
from collections.abc import Iterable
from pathlib import Path

import commonfarm
from commonfarm.lib.errors import Reason, UnreachableError

_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 1 << 18
_libc = ctypes.CDLL(None, use_errno=True)


def code() -> list[Path]:
    """Return the folders a process of ours needs to run: venv, our sources, the interpreter."""
    found = {Path(sys.prefix), Path(sys.base_prefix), Path(commonfarm.__file__).parent.parent}
    found |= {path.resolve() for path in found} | {Path(sys.executable).resolve().parent}
    return sorted(path for path in found if not path.is_relative_to("/usr"))


def closed_above(path: Path) -> Path | None:
    """Return the topmost folder above `path` that others may not pass, None if all is open."""
    for parent in reversed(path.parents):
        if not parent.stat().st_mode & stat.S_IXOTH:
            return parent
    return None


def unveil(paths: Iterable[Path]) -> bool:
    """As root, make `paths` reachable for the users of our processes; say if that was needed.

    The caller must have one thread only. Raises UnreachableError when mounting is refused.
    """
    if os.getuid() != 0:
        return False
    needed: dict[Path, list[Path]] = {}
    for path in sorted(set(paths)):
        closed = closed_above(path)
        if closed is None:
            continue
        below = needed.setdefault(closed, [])
        if not any(path.is_relative_to(other) for other in below):
            below.append(path)
    if not needed:
        return False
    if _libc.unshare(_CLONE_NEWNS):
        raise _refused()
    _mount("none", Path("/"), "", _MS_REC | _MS_PRIVATE)
    for closed, below in needed.items():
        opened = [(path, path.is_dir(), os.open(path, os.O_PATH)) for path in below]
        _mount("commonfarm", closed, "tmpfs", 0, "mode=0755,size=16m")
        for path, is_folder, descriptor in opened:
            (path if is_folder else path.parent).mkdir(parents=True, mode=0o755, exist_ok=True)
            if not is_folder:
                path.touch()
            _mount(f"/proc/self/fd/{descriptor}", path, "", _MS_BIND | _MS_REC)
            os.close(descriptor)
    # What we stand in may be covered now; its path may be there again.
    here = os.environ.get("PWD", "/")
    os.chdir(here if Path(here).is_dir() else "/")
    return True


def _mount(source: str, target: Path, kind: str, flags: int, options: str = "") -> None:
    # Not mount(8): it would resolve the source, which by then is covered.
    words = (source.encode(), os.fsencode(target), kind.encode())
    if _libc.mount(*words, ctypes.c_ulong(flags), options.encode()):
        raise _refused()


def _refused() -> UnreachableError:
    what = os.strerror(ctypes.get_errno())
    return UnreachableError(
        Reason(
            "code-not-reachable",
            f"other users cannot reach Commonfarm's files, and mounting them was refused: {what}",
            "move the checkout where every user may read it, for example below /opt",
        )
    )
