"""The keys that package sources are verified with, as one binary keyring. No Django in here."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path

from commonfarm.estate.apt import PackageSource
from commonfarm.lib.errors import Reason, RefusedError

ARCHIVE_KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)


def keyring_of(sources: Sequence[PackageSource], directory: Path) -> Path:
    """Return one keyring file that holds the keys of all `sources`.

    It is the host's own file where that is enough; else a file in `directory`, named by its
    content. Without Signed-By it is Debian's archive keyring. Raises RefusedError when a keyring
    cannot be read.
    """
    wanted = dict.fromkeys(source.signed_by for source in sources)
    files = [_keyring_files(signed) for signed in wanted]
    paths = dict.fromkeys(path for group in files for path in group if isinstance(path, Path))
    blocks = [block for group in files for block in group if isinstance(block, str)]
    if len(paths) == 1 and not blocks:
        only = next(iter(paths))
        if only.suffix != ".asc":
            _read(only)
            return only
    content = b"".join([_binary(_read(path)) for path in paths])
    content += b"".join(_binary(block.encode()) for block in blocks)
    file = directory / f"{hashlib.sha256(content).hexdigest()}.gpg"
    if not file.exists():
        directory.mkdir(parents=True, exist_ok=True)
        partial = file.with_suffix(f".{os.getpid()}.new")
        partial.write_bytes(content)
        partial.chmod(0o644)
        partial.replace(file)
    return file


def _keyring_files(signed: str) -> list[Path | str]:
    """Return the keyring paths, or the armored block, that a Signed-By names."""
    if "BEGIN PGP PUBLIC KEY BLOCK" in signed:
        return [signed]
    paths: list[Path | str] = [
        Path(part) for part in re.split(r"[,\s]+", signed) if part.startswith("/")
    ]
    if paths:
        return paths
    for keyring in ARCHIVE_KEYRINGS:
        if keyring.exists():
            return [keyring]
    raise RefusedError(
        Reason(
            "no-archive-keyring",
            "an entry of apt's names no keyring file, and Debian's archive keyring is not here",
            "apt-get install debian-archive-keyring",
        )
    )


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise RefusedError(
            Reason(
                "keyring-unreadable",
                f"the keyring {path} cannot be read: {error.strerror}",
                "let everyone read it, or name another",
            )
        ) from None


def _binary(keyring: bytes) -> bytes:
    """Return a keyring without its armor (RFC 9580, section 6); binary ones as they are."""
    if b"-----BEGIN PGP" not in keyring:
        return keyring
    blocks = re.findall(
        r"-----BEGIN PGP PUBLIC KEY BLOCK-----\n(.*?)\n-----END PGP",
        keyring.decode("ascii", "replace").replace("\r\n", "\n"),
        re.DOTALL,
    )
    try:
        return b"".join(base64.b64decode(_armored_data(block), validate=True) for block in blocks)
    except binascii.Error:
        raise RefusedError(
            Reason("bad-keyring", "a key block of an apt entry is damaged", "mend that entry")
        ) from None


def _armored_data(block: str) -> str:
    """Return the base64 of an armored block: no headers (they end at a blank line), no CRC."""
    head, blank, body = block.partition("\n\n")
    lines = (body if blank else head).splitlines()
    return "".join(line.strip() for line in lines if not line.startswith("="))
