"""What the hub sends, read into the protocol's dataclasses and checked before it names a path.

The hub checks with pydantic; here there is only the standard library, and unknown members are left
alone so that a newer hub may say more.
"""

from __future__ import annotations

import re
from typing import Any

from commonfarm.agent.errors import AgentError
from commonfarm.agent.protocol import (
    ANY,
    BINARY,
    Buildroot,
    Enrolled,
    Lease,
    Limits,
    PackageSource,
    Received,
    Renewed,
    SourceFile,
)

_FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~_:=%@-]{0,254}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_SOURCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,199}")
_VERSION = re.compile(r"[0-9][A-Za-z0-9.+~:-]{0,199}")
_BUILD = re.compile(f"{ANY}|{BINARY}")
_BUILDER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class DecodeError(AgentError):
    """The hub said something the protocol does not allow."""


def is_file_name(name: str) -> bool:
    """Say whether `name` is a plain file name: no separator, no leading dot, at most 255."""
    return _FILE_NAME.fullmatch(name) is not None


def _get(data: Any, name: str, kind: Any, pattern: re.Pattern[str] | None = None) -> Any:
    value = data.get(name) if isinstance(data, dict) else None
    wrong = isinstance(value, bool) or not isinstance(value, kind)
    if wrong or (isinstance(value, (int, float)) and value < 0):
        raise DecodeError(f"the hub's {name} is {value!r}, which the protocol does not allow")
    if pattern is not None and pattern.fullmatch(str(value)) is None:
        raise DecodeError(f"the hub's {name} {value!r} is not allowed")
    return value


def _texts(data: Any, name: str) -> list[str]:
    values = _get(data, name, list)
    if not all(isinstance(value, str) for value in values):
        raise DecodeError(f"the hub's {name} are not all texts")
    return list(values)


def enrolled_from(data: Any) -> Enrolled:
    """Read Enrolled."""
    return Enrolled(
        builder=_get(data, "builder", str, _BUILDER),
        generation=_get(data, "generation", int),
        credential=_get(data, "credential", str, re.compile(r"[!-~]{16,500}")),
        scheduler_urls=_texts(data, "scheduler_urls"),
    )


def renewed_from(data: Any) -> Renewed:
    """Read Renewed."""
    return Renewed(_get(data, "deadline_at", str), _get({"cancel": "", **data}, "cancel", str))


def received_from(data: Any) -> Received:
    """Read Received."""
    return Received(_get(data, "received", int))


def source_file_from(data: Any) -> SourceFile:
    """Read a file's name, size and hash."""
    return SourceFile(
        name=_get(data, "name", str, _FILE_NAME),
        size=_get(data, "size", int),
        sha256=_get(data, "sha256", str, _SHA256),
    )


def _buildroot(data: Any) -> Buildroot:
    return Buildroot(
        target=_get(data, "target", str),
        architecture=_get(data, "architecture", str),
        package_sources=[
            PackageSource(
                uri=_get(source, "uri", str),
                suite=_get(source, "suite", str),
                components=_texts(source, "components"),
            )
            for source in _get(data, "package_sources", list)
        ],
        keyring=_get(data, "keyring", str),
    )


def _limits(data: Any) -> Limits:
    names = ("memory_bytes", "processes", "disk_bytes", "wall_seconds", "silence_seconds")
    values = {name: _get(data, name, int) for name in names}
    if "log_bytes" in data:
        values["log_bytes"] = _get(data, "log_bytes", int)
    return Limits(**values)


def lease_from(data: Any) -> Lease:
    """Read Lease."""
    files = [source_file_from(file) for file in _get(data, "files", list)]
    dsc = _get(data, "dsc", str, _FILE_NAME)
    if dsc not in {file.name for file in files}:
        raise DecodeError(f"the hub's lease does not list its own {dsc}")
    suffix = data.get("rebuild_suffix")
    return Lease(
        id=_get(data, "id", int),
        job=_get(data, "job", int),
        deadline_at=_get(data, "deadline_at", str),
        renew_seconds=max(0.1, float(_get(data, "renew_seconds", (int, float)))),
        buildroot=_buildroot(_get(data, "buildroot", dict)),
        source_name=_get(data, "source_name", str, _SOURCE),
        source_version=_get(data, "source_version", str, _VERSION),
        dsc=dsc,
        files=files,
        limits=_limits(_get(data, "limits", dict)),
        parallel=max(1, _get(data, "parallel", int)),
        rebuild_suffix=None if suffix is None else _get(data, "rebuild_suffix", int),
        build=_get({"build": BINARY, **data}, "build", str, _BUILD),
    )
