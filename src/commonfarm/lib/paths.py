"""Paths from outside, checked before they touch a disk."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_:=%@-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_file_name(name: str) -> bool:
    """Say whether `name` is a plain ASCII file name: no separator, no leading dot, at most 255."""
    return len(name) <= 255 and _FILE_NAME.fullmatch(name) is not None


def is_sha256(text: str) -> bool:
    """Say whether `text` is a SHA-256 in lower-case hex."""
    return _SHA256.fullmatch(text) is not None


def inside(root: Path, relative: str) -> Path:
    """Return `root / relative`, refusing by ValueError what is absolute or would leave `root`.

    Only the text is judged; a symlink on disk is followed by whoever opens the path.
    """
    path = PurePosixPath(relative)
    if not relative or path.is_absolute() or "\0" in relative or ".." in path.parts:
        raise ValueError(f"the path {relative!r} leaves its directory")
    return root.joinpath(*path.parts)
