"""Takes what a build made out of its tree. The tree is hostile: names, links, sizes, all of it."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from commonfarm.agent.decode import is_file_name
from commonfarm.agent.errors import FailedError
from commonfarm.agent.protocol import SourceFile

_CHANGES_BYTES = 4 * 2**20


def collect(build: Path, output: Path, limit_bytes: int) -> list[SourceFile]:
    """Copy the .changes of `build` and all it lists into `output`; raise FailedError on any lie.

    Only regular files directly in `build` are taken, opened without following a link; the sizes
    and hashes that .changes states must hold; all together are at most `limit_bytes`.
    """
    folder = os.open(build, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".changes")]  # noqa: PTH208 - by handle
        if len(names) != 1:
            raise FailedError(f"the build left {len(names)} .changes files where one was expected")
        changes = _copy(folder, names[0], output, _CHANGES_BYTES)
        found = [changes]
        room = limit_bytes - changes.size
        text = (output / names[0]).read_text("utf-8", "replace")
        for stated in listed(text):
            file = _copy(folder, stated.name, output, room)
            if file != stated:
                raise FailedError(f"{stated.name} is not what {names[0]} says of it")
            room -= file.size
            found.append(file)
    finally:
        os.close(folder)
    return found


def listed(changes: str) -> list[SourceFile]:
    """Return the files of Checksums-Sha256 (deb-changes(5)); FailedError if malformed."""
    files, inside = [], False
    for line in changes.splitlines():
        if not line.startswith(" "):
            inside = line.rstrip().lower() == "checksums-sha256:"
        elif inside:
            fields = line.split()
            if len(fields) != 3 or not fields[1].isascii() or not fields[1].isdigit():
                raise FailedError(f"the .changes has a line that is no checksum: {line.strip()!r}")
            files.append(SourceFile(name=fields[2], size=int(fields[1]), sha256=fields[0]))
    if not files:
        raise FailedError("the .changes lists no files: the build made nothing for this target")
    if len({file.name for file in files}) != len(files):
        raise FailedError("the .changes lists a file twice")
    return files


def _copy(folder: int, name: str, output: Path, limit_bytes: int) -> SourceFile:
    if not is_file_name(name):
        raise FailedError(f"the build names a file {name!r}, which is not a plain file name")
    try:
        # O_NONBLOCK: a pipe of that name must not make us wait.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        raise FailedError(
            f"{name}, which the build lists, cannot be taken: {error.strerror}"
        ) from None
    hasher, size = hashlib.sha256(), 0
    with os.fdopen(handle, "rb") as source:
        found = os.fstat(source.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise FailedError(f"{name}, which the build lists, is not a regular file")
        if found.st_size > limit_bytes:
            raise FailedError(
                f"{name} has {found.st_size} bytes, more than the {limit_bytes} that are left of "
                "the job's disk limit; raise it"
            )
        with (output / name).open("xb") as sink:
            while True:
                data = source.read(2**20)
                if not data:
                    break
                hasher.update(data)
                size += len(data)
                sink.write(data)
    return SourceFile(name=name, size=size, sha256=hasher.hexdigest())
