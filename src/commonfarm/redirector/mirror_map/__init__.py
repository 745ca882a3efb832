"""The mirror map: which mirror has which file, in one signed file and a delta upon it.

The worker makes it (`writing`, with numpy) and puts it in place, the signer looks at it
(`unsigned`) and signs its header, redirectors map it into memory and answer from it (here). What
its bytes are stands in `layout`.
"""

from __future__ import annotations

from commonfarm.redirector.mirror_map.layout import (
    CHANGES,
    DELTA,
    FULL,
    GONE,
    WAITS,
    seal,
    to_be_signed,
)
from commonfarm.redirector.mirror_map.model import (
    Answers,
    File,
    Hashes,
    MapError,
    Mirror,
    MissingError,
    Override,
    Revision,
    Tree,
)
from commonfarm.redirector.mirror_map.reading import (
    EMPTY,
    MirrorMap,
    Part,
    load,
    parse,
    read_key,
    seen,
)
from commonfarm.redirector.mirror_map.source import mark_of

__all__ = [
    "CHANGES",
    "DELTA",
    "EMPTY",
    "FULL",
    "GONE",
    "SERVER_NAME",
    "WAITS",
    "Answers",
    "File",
    "Hashes",
    "MapError",
    "Mirror",
    "MirrorMap",
    "MissingError",
    "Override",
    "Part",
    "Revision",
    "Tree",
    "load",
    "mark_of",
    "parse",
    "read_key",
    "seal",
    "seen",
    "to_be_signed",
]

SERVER_NAME = "Commonfarm-redirector"
"""How a redirector names itself; the scanner knows by it that a redirector is no mirror."""
