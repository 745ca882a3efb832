"""Names that mirrors list. Pure.

A listing names other people's files too: what no release tree can hold (control characters, bytes
that are no UTF-8) is left out. What no listing of a folder can rightly name (`..`, an absolute
path) shows a server that is broken or hostile.
"""

from __future__ import annotations

import re

LONGEST_PATH = 4096
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def is_plain(path: str) -> bool:
    """Say whether `path` could be one of a release tree's: printable and not beyond 4096 bytes."""
    return len(path) <= LONGEST_PATH and _CONTROL.search(path) is None


def leaves(path: str) -> bool:
    """Say whether `path` is absolute, or goes up or nowhere: no listing of a folder names that."""
    if path.startswith("/"):
        return True
    # Nearly no name has such a run: the exact look is for those alone.
    return ("./" in path or "//" in path or path.endswith((".", "/"))) and any(
        part in ("", ".", "..") for part in path.split("/")
    )
