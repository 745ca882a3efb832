"""Takes what a job made out of its tree. The tree is hostile: names, links, sizes, all of it."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from commonfarm.agent.decode import is_file_name
from commonfarm.agent.errors import FailedError
from commonfarm.agent.protocol import MOST_ARTIFACTS, SourceFile

_CHANGES_BYTES = 4 * 2**20
_STATUS_BYTES = 64 * 2**20
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def status(root: Path) -> str:
    """Return dpkg's list of what is installed in a root where package scripts ran.

    No link on the way is followed; FailedError unless it is a regular file of at most 64 MiB.
    """
    folder = os.open(root, _FOLDER)
    try:
        for part in ("var", "lib", "dpkg"):
            try:
                inner = os.open(part, _FOLDER, dir_fd=folder)
            except OSError as error:
                raise FailedError(
                    f"{part} on the way to dpkg's status file cannot be entered: {error.strerror}; "
                    "a script of a build dependency replaced it"
                ) from None
            os.close(folder)
            folder = inner
        with _opened(folder, "status", "dpkg's list of what is installed") as file:
            data = file.read(_STATUS_BYTES + 1)
    finally:
        os.close(folder)
    if len(data) > _STATUS_BYTES:
        raise FailedError(f"dpkg's status file has more than {_STATUS_BYTES} bytes")
    return data.decode("utf-8", "replace")


def collect(build: Path, output: Path, limit_bytes: int) -> list[SourceFile]:
    """Copy the .changes of `build` and all it lists into `output`; raise FailedError on any lie.

    Only regular files directly in `build` are taken, opened without following a link; the sizes
    and hashes that .changes states must hold; all together are at most `limit_bytes`.
    """
    folder = os.open(build, _FOLDER)
    try:
        names = [name for name in os.listdir(folder) if name.endswith(".changes")]  # noqa: PTH208 - by handle
        if len(names) != 1:
            raise FailedError(f"the build left {len(names)} .changes files where one was expected")
        changes = _copy(folder, names[0], output, _CHANGES_BYTES)
        found = [changes]
        room = limit_bytes - changes.size
        text = (output / names[0]).read_text("utf-8", "replace")
        files = listed(text)
        if len(files) >= MOST_ARTIFACTS:
            raise FailedError(
                f"the build made {len(files) + 1} files, more than the {MOST_ARTIFACTS} that a hub "
                "takes; make fewer packages of it"
            )
        for stated in files:
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


def _opened(folder: int, name: str, what: str) -> BinaryIO:
    """Open the regular file `name`, which `what` says more of; FailedError if it is none."""
    try:
        # O_NONBLOCK: a pipe of that name must not make us wait.
        handle = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    except OSError as error:
        raise FailedError(f"{name}, {what}, cannot be taken: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FailedError(f"{name}, {what}, is not a regular file")
    return os.fdopen(handle, "rb")


def _copy(folder: int, name: str, output: Path, limit_bytes: int) -> SourceFile:
    if not is_file_name(name):
        raise FailedError(f"the build names a file {name!r}, which is not a plain file name")
    hasher, size = hashlib.sha256(), 0
    with _opened(folder, name, "which the build lists") as source:
        found = os.fstat(source.fileno())
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
