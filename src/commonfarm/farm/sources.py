"""Checks a source package before anything of it is believed: signature, sums, names, tarballs.

Format: deb-src-control(5) and dsc(5). Nothing is extracted here; that happens in a sandbox.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from debian.deb822 import Deb822
from debian.debian_support import DpkgArchTable

from commonfarm.farm.tarballs import (
    COMPRESSIONS,
    Bounds,
    TarballError,
    check_stream,
    check_tarball,
)
from commonfarm.lib.errors import BadInputError, Problem
from commonfarm.lib.paths import is_file_name, is_sha256

DSC_BYTES = 1 << 20

_SOURCE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,198}")
_VERSION = re.compile(r"(?:\d{1,9}:)?([0-9][0-9A-Za-z.+~-]{0,190})")
_FORMATS = ("1.0", "3.0 (native)", "3.0 (quilt)")
_CLEARSIGNED = b"-----BEGIN PGP SIGNED MESSAGE-----"
_BAD_SIGNATURE = {"BADSIG", "ERRSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG"}
_PUBLIC_KEY = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"
_TARBALL = re.compile(rf"(?:orig(?:-[A-Za-z0-9-]+)?\.|debian\.)?tar\.({'|'.join(COMPRESSIONS)})")


@dataclass(frozen=True, slots=True)
class FileSum:
    """A file as the .dsc names it. `size` is in bytes, `line` the one of its SHA-256 (from 1)."""

    name: str
    size: int
    sha256: str
    line: int


@dataclass(frozen=True, slots=True)
class Dsc:
    """A .dsc that was read and is consistent in itself.

    `signed_by` is the fingerprint of the key whose signature was verified, empty for none.
    """

    source: str
    version: str
    architectures: tuple[str, ...]
    files: tuple[FileSum, ...]
    control: dict[str, str]
    signed_by: str

    @property
    def file_name(self) -> str:
        """The name a .dsc of this source and version has."""
        return f"{self.source}_{_without_epoch(self.version)}.dsc"


def _without_epoch(version: str) -> str:
    return version.partition(":")[2] or version


def read_dsc(data: bytes, *, keyrings: Sequence[Path] = (), must_be_signed: bool = False) -> Dsc:
    """Read a .dsc, clear-signed or not, and check all it says of itself.

    A signature that one of `keyrings` can judge must be good. With `must_be_signed` there has to
    be one. Raises BadInputError with every fault found.
    """
    if len(data) > DSC_BYTES:
        raise _bad(".dsc", f"it has {len(data)} bytes", f"a .dsc has at most {DSC_BYTES}")
    content, signed_by = _signed_content(data, keyrings, must_be_signed)
    text = _text(content)
    paragraphs = list(Deb822.iter_paragraphs(text.splitlines(), use_apt_pkg=False))
    if len(paragraphs) != 1:
        raise _bad(".dsc", f"it has {len(paragraphs)} paragraphs", "a .dsc has one")
    control = {str(key): str(value) for key, value in paragraphs[0].items()}
    lines = _text(data).splitlines()
    problems: list[Problem] = []

    def field(name: str) -> str:
        value = control.get(name, "").strip()
        if not value:
            problems.append(Problem(".dsc", 0, 0, f"it has no {name}", "make it with dpkg-source"))
        return value

    def fault(name: str, what: str, to_do: str) -> None:
        problems.append(Problem(".dsc", _line_of(lines, f"{name}:"), 0, what, to_do))

    source, version, form = field("Source"), field("Version"), field("Format")
    if source and _SOURCE.fullmatch(source) is None:
        fault("Source", f"{source!r} is not a source name", "see Debian Policy 5.6.1")
    if version and _VERSION.fullmatch(version) is None:
        fault("Version", f"{version!r} is not a version", "see Debian Policy 5.6.12")
    if form and form not in _FORMATS:
        fault("Format", f"the format {form!r} is not built here", f"use one of {_FORMATS}")
    if problems:
        raise BadInputError(*problems)
    files = _file_sums(control, lines, source, version)
    _check_all_sums_name_the_same(control, files, lines)
    return Dsc(
        source=source,
        version=version,
        architectures=tuple(control.get("Architecture", "any").split()),
        files=files,
        control=control,
        signed_by=signed_by,
    )


def has_packages_of(architecture: str, built_for: Iterable[str]) -> bool:
    """Say whether some package of a source depends on the architecture and is built for this one.

    `built_for` are the words of the .dsc's Architecture.
    """
    return any(_architectures().matches_architecture(architecture, word) for word in built_for)


@cache
def _architectures() -> DpkgArchTable:
    """Read dpkg's table of architectures, once a process."""
    return DpkgArchTable.load_arch_table()


def check_files(dsc: Dsc, files: Mapping[str, Path], bounds: Bounds | None = None) -> None:
    """Check that `files` are what `dsc` names, byte for byte, and harmless to unpack.

    `files` maps each name to where its bytes lie. Raises BadInputError with every fault found.
    """
    unknown = files.keys() - {one.name for one in dsc.files} - {dsc.file_name}
    problems = [
        Problem(name, 0, 0, "the .dsc does not name this file", "leave it out")
        for name in sorted(unknown)
    ]
    for one in dsc.files:
        path = files.get(one.name)
        if path is None:
            what = f"{one.name} is named here but was not brought"
            problems.append(Problem(dsc.file_name, one.line, 0, what, "upload it too"))
            continue
        found = _wrong_sum(one, path, dsc.file_name)
        if found is not None:
            problems.append(found)
            continue
        try:
            _check_content(dsc, one.name, path, bounds or Bounds())
        except TarballError as error:
            problems.append(Problem(one.name, 0, 0, error.what, error.to_do))
    if problems:
        raise BadInputError(*problems)


def _wrong_sum(one: FileSum, path: Path, dsc_name: str) -> Problem | None:
    size = path.stat().st_size
    if size != one.size:
        what = f"{one.name} has {size} bytes, not the {one.size} that are named here"
        return Problem(dsc_name, one.line, 0, what, "upload the file the .dsc was made for")
    with path.open("rb") as data:
        digest = hashlib.file_digest(data, "sha256").hexdigest()
    if digest != one.sha256:
        what = f"{one.name} has the SHA-256 {digest}, not the one that is named here"
        return Problem(dsc_name, one.line, 0, what, "upload the file the .dsc was made for")
    return None


def _check_content(dsc: Dsc, name: str, path: Path, bounds: Bounds) -> None:
    rest = _part_of(dsc.source, dsc.version, name)
    assert rest is not None  # read_dsc refused other names
    tarball = _TARBALL.fullmatch(rest)
    if tarball is not None:
        check_tarball(path, tarball[1], bounds)
    elif rest == "diff.gz":
        check_stream(path, "gz", bounds)


def _part_of(source: str, version: str, name: str) -> str | None:
    """Return what of a file's name follows `SOURCE_VERSION.`, None if that does not lead it."""
    full = _without_epoch(version)
    for stem in (full, full.rpartition("-")[0]):
        if stem and name.startswith(f"{source}_{stem}."):
            rest = name.removeprefix(f"{source}_{stem}.")
            plain = rest.removesuffix(".asc")
            if _TARBALL.fullmatch(plain) or rest == "diff.gz":
                return rest
    return None


def _file_sums(
    control: dict[str, str], lines: list[str], source: str, version: str
) -> tuple[FileSum, ...]:
    problems: list[Problem] = []
    found: dict[str, FileSum] = {}
    for row in _rows(control, "Checksums-Sha256"):
        number = _line_of(lines, " ".join(row))

        def fault(what: str, to_do: str, number: int = number) -> None:
            problems.append(Problem(".dsc", number, 0, what, to_do))

        if len(row) != 3 or not is_sha256(row[0]) or not _is_size(row[1]):
            fault(f"{' '.join(row)!r} is not `SHA256 SIZE NAME`", "make it with dpkg-source")
        elif not is_file_name(row[2]):
            fault(f"the file name {row[2]!r} leaves its directory or is odd", "use a plain name")
        elif _part_of(source, version, row[2]) is None:
            fault(
                f"{row[2]} does not belong to {source} {version}",
                "its files are tarballs (and a diff.gz) named after source and version, compressed"
                f" as one of {', '.join(COMPRESSIONS)}",
            )
        elif row[2] in found:
            fault(f"{row[2]} is named twice", "name each file once")
        else:
            found[row[2]] = FileSum(row[2], int(row[1]), row[0], number)
    if not found and not problems:
        problems.append(
            Problem(".dsc", 0, 0, "it names no file by SHA-256", "make it with a newer dpkg-source")
        )
    if problems:
        raise BadInputError(*problems)
    return tuple(found.values())


def _check_all_sums_name_the_same(
    control: dict[str, str], files: tuple[FileSum, ...], lines: list[str]
) -> None:
    """What unpacks later may go by another field: it has to name the same files and sizes."""
    wanted = {(one.name, str(one.size)) for one in files}
    for name in ("Files", "Checksums-Sha1"):
        rows = _rows(control, name)
        if name in control and {(row[-1], row[1]) for row in rows if len(row) == 3} != wanted:
            raise BadInputError(
                Problem(
                    ".dsc",
                    _line_of(lines, f"{name}:"),
                    0,
                    f"{name} names other files or sizes than Checksums-Sha256",
                    "make it with dpkg-source",
                )
            )


def _rows(control: dict[str, str], name: str) -> list[list[str]]:
    return [line.split() for line in control.get(name, "").splitlines() if line.strip()]


def _is_size(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 15


def _line_of(lines: list[str], start: str) -> int:
    """Return the number (from 1) of the line that starts so, spaces aside; 0 when there is none."""
    for number, line in enumerate(lines, 1):
        if line.strip().lower().startswith(start.lower()):
            return number
    return 0


def _text(data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise _bad(".dsc", "it is not UTF-8", "write it in UTF-8", line) from None
    if "\0" in text:
        raise _bad(".dsc", "it holds a NUL", "make it with dpkg-source")
    return text


def _bad(file: str, what: str, to_do: str, line: int = 0) -> BadInputError:
    return BadInputError(Problem(file, line, 0, what, to_do))


def _signed_content(
    data: bytes, keyrings: Sequence[Path], must_be_signed: bool
) -> tuple[bytes, str]:
    """Return what was signed (all of it, when nothing was) and who signed it.

    What stands before or after a clear-signed text is never part of the result.
    """
    if not data.startswith(_CLEARSIGNED):
        if _CLEARSIGNED in data:
            raise _bad(".dsc", "text stands before the signed message", "upload it as signed")
        if must_be_signed:
            raise _bad(".dsc", "it is not signed, and the target demands it", "use debsign")
        return data, ""
    verified = _verify(data, keyrings) if keyrings else None
    if verified is not None:
        return verified
    if must_be_signed:
        raise _bad(
            ".dsc",
            "it is signed by a key that the target's keyring does not hold",
            "have it signed by an uploader, or have the key added to the keyring",
        )
    # iter() because that is what its annotation asks for; lists work the same.
    _, payload, _ = Deb822.split_gpg_and_payload(iter(data.splitlines()))
    return b"\n".join(payload) + b"\n", ""


def _verify(data: bytes, keyrings: Sequence[Path]) -> tuple[bytes, str] | None:
    """Return the verified content and the signing key, None when no keyring knows the key.

    Raises BadInputError for a signature that is bad or expired, or of such or a revoked key.
    """
    with tempfile.TemporaryDirectory(prefix="cf-dsc-") as name:
        home = Path(name)
        command = ["gpgv", "--homedir", name, "--status-fd", "1", "--output", str(home / "content")]
        for number, keyring in enumerate(keyrings):
            command += ["--keyring", str(_binary_keyring(keyring, home, number))]
        signed = home / "signed"
        signed.write_bytes(data)
        done = subprocess.run([*command, str(signed)], capture_output=True, check=False, timeout=60)
        status = [
            line.removeprefix("[GNUPG:] ").split()
            for line in done.stdout.decode("utf-8", "replace").splitlines()
            if line.startswith("[GNUPG:] ")
        ]
        words = {line[0] for line in status if line}
        bad = words & _BAD_SIGNATURE
        # gpgv ends well for a key that is revoked or expired, and has a VALIDSIG for it.
        if done.returncode == 0 and not bad and {"GOODSIG", "VALIDSIG"} <= words:
            fingerprint = next(line[1] for line in status if line[0] == "VALIDSIG")
            return (home / "content").read_bytes(), fingerprint
    # An ERRSIG is what an unknown key gives, too.
    if "NO_PUBKEY" in words and bad == {"ERRSIG"}:
        return None
    raise _bad(".dsc", "its signature is not good", "sign it again with a key that is valid")


def _binary_keyring(keyring: Path, home: Path, number: int) -> Path:
    """Return the keyring in the form gpgv reads: an armoured one is converted into `home`."""
    try:
        with keyring.open("rb") as data:
            armoured = data.read(len(_PUBLIC_KEY)) == _PUBLIC_KEY
    except OSError as error:
        raise _bad(
            str(keyring), f"the target's keyring cannot be read: {error.strerror}", "install it"
        ) from None
    if not armoured:
        return keyring.absolute()
    converted = home / f"keyring-{number}.gpg"
    command = ["gpg", "--homedir", str(home), "--batch", "--dearmor", "--output", str(converted)]
    subprocess.run([*command, str(keyring)], check=True, capture_output=True, timeout=60)
    return converted
