"""The agent as one file, the same bytes from the same sources."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import commonfarm
from commonfarm import agent

_EPOCH = (1980, 1, 1, 0, 0, 0)
_MAIN = b"import sys\nfrom commonfarm.agent.__main__ import main\nsys.exit(main())\n"


def build_zipapp() -> bytes:
    """Return the agent as a zipapp: `python3 agent.pyz enrol|run|clean`.

    Deterministic: names sorted, dates fixed, nothing but the sources in it.
    """
    # Found by their modules, not by paths, so that a zipapp could pack only what is on disk.
    package, top = agent.__file__, commonfarm.__file__
    assert package is not None and top is not None
    files = {"__main__.py": _MAIN, "commonfarm/__init__.py": Path(top).read_bytes()}
    for path in Path(package).parent.glob("*.py"):
        files[f"commonfarm/agent/{path.name}"] = path.read_bytes()
    buffer = io.BytesIO(b"")
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            entry.create_system = 3
            archive.writestr(entry, files[name])
    return b"#!/usr/bin/env python3\n" + buffer.getvalue()
