"""Reads what a .deb says of itself. The file is hostile until checked.

`dpkg-deb` reads it in a process of its own with limits on time, memory and files; what it prints is
bounded, then every field is checked before it may stand in an index.
"""

from __future__ import annotations

import io
import itertools
import re
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822

from commonfarm.lib.errors import BadInputError, Problem

MOST_CONTROL_BYTES = 256 * 1024
MOST_ARCHIVE_BYTES = 32 * 2**20
MOST_MEMBERS = 1000
MOST_FIELDS = 100
MOST_NAME = 200
"""Characters of a file name: its provenance lies beside it, under a longer one."""
READ_SECONDS = 60
# dpkg-deb decompresses xz with several threads, each with a stack and a dictionary.
READ_MEMORY_BYTES = 2 * 2**30

_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]+")
_VERSION = re.compile(r"(?:[0-9]+:)?[0-9][A-Za-z0-9.+~-]*")
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9-]*")
_FIELD = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
OURS = {"filename", "size", "md5sum", "sha1", "sha256", "sha512"}
"""Fields of an index that the archive writes itself."""


@dataclass(frozen=True, slots=True)
class Control:
    """The checked control fields of a binary package."""

    fields: dict[str, str]

    @property
    def package(self) -> str:
        """Its name."""
        return self.fields["Package"]

    @property
    def version(self) -> str:
        """Its version, epoch included."""
        return self.fields["Version"]

    @property
    def architecture(self) -> str:
        """Its architecture, or `all`."""
        return self.fields["Architecture"]

    @property
    def source(self) -> str:
        """The name of its source package."""
        return self.fields.get("Source", self.package).split(" ")[0]

    @property
    def filename(self) -> str:
        """The file name that its fields ask for; the epoch is not part of it."""
        version = self.version.partition(":")[2] or self.version
        return f"{self.package}_{version}_{self.architecture}.deb"


def read_control(file: Path, name: str, architecture: str) -> Control:
    """Return the control fields of the .deb at `file`, which calls itself `name`.

    Raises BadInputError with all faults: it is no .deb, a field cannot be, the architecture is
    neither `architecture` nor `all`, or the name is not the one that the fields ask for.
    """
    archive = _dpkg_deb(file, name)
    try:
        return check_control(_control_of(archive, name), name, architecture)
    except BadInputError:
        raise
    except Exception as error:  # whatever a hostile file makes its readers do, it is its fault
        fault = f"its control archive cannot be read: {type(error).__name__}: {str(error)[:200]}"
        raise _bad(name, fault) from None


def check_control(text: str, name: str, architecture: str) -> Control:
    """Return the fields of a control file's `text` if they are sane; BadInputError otherwise."""
    faults: list[str] = []
    paragraph = Deb822(text)
    fields = {
        str(key): str(value) for key, value in paragraph.items() if str(key).lower() not in OURS
    }
    if len(fields) > MOST_FIELDS:
        faults.append(f"it has {len(fields)} control fields, more than {MOST_FIELDS}")
    for key, value in fields.items():
        if not _FIELD.fullmatch(key):
            faults.append(f"{key[:40]!r} is no name of a field")
        lines = value.split("\n")
        if any(not line[:1].isspace() or not line.strip() for line in lines[1:]) or any(
            ord(letter) < 32 and letter not in "\n\t" for letter in value
        ):
            faults.append(f"the field {key[:40]!r} is not a field of one paragraph")
    for key, pattern in (
        ("Package", _PACKAGE),
        ("Version", _VERSION),
        ("Architecture", _ARCHITECTURE),
    ):
        if not pattern.fullmatch(fields.get(key, "")) or len(fields[key]) > 200:
            faults.append(f"the field {key} is {fields.get(key, '')[:80]!r}")
    source = fields.get("Source")
    if source is not None and (len(source) > 200 or not _PACKAGE.fullmatch(source.split(" ")[0])):
        faults.append(f"the field Source is {source[:80]!r}")
    control = Control(fields)
    if not faults:
        if len(control.filename) > MOST_NAME:
            faults.append(f"its name would have more than {MOST_NAME} characters")
        if control.architecture not in (architecture, "all"):
            faults.append(f"it is for {control.architecture}, not for {architecture} or all")
        if control.filename != name:
            faults.append(f"by its fields it is called {control.filename}")
    if faults:
        raise _bad(name, *faults)
    return control


def _dpkg_deb(file: Path, name: str) -> bytes:
    """Return the control archive, unpacked and bounded."""
    command = [
        "prlimit",
        f"--cpu={READ_SECONDS}",
        f"--as={READ_MEMORY_BYTES}",
        "--fsize=0",
        "--core=0",
        "--",
        "dpkg-deb",
        "--ctrl-tarfile",
        str(file),
    ]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
        start_new_session=True,
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        printed = process.stdout.read(MOST_ARCHIVE_BYTES + 1)
        if len(printed) > MOST_ARCHIVE_BYTES:
            raise _bad(name, f"its control archive has more than {MOST_ARCHIVE_BYTES} bytes")
        complaint = process.stderr.read(2000).decode(errors="replace").strip()
        if process.wait(READ_SECONDS) != 0:
            raise _bad(name, f"it is no Debian package: {complaint or 'dpkg-deb was stopped'}")
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()
    return printed


def _control_of(archive: bytes, name: str) -> str:
    """Return the text of the file `control` in a control archive; nothing is unpacked to disk."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as opened:
        for member in itertools.islice(opened, MOST_MEMBERS):
            if member.name.removeprefix("./") != "control" or not member.isreg():
                continue
            if member.size > MOST_CONTROL_BYTES:
                raise _bad(name, f"its control file has more than {MOST_CONTROL_BYTES} bytes")
            found = opened.extractfile(member)
            assert found is not None
            try:
                return found.read().decode()
            except UnicodeDecodeError:
                raise _bad(name, "its control file is not UTF-8") from None
    raise _bad(name, "it has no control file")


def _bad(name: str, *faults: str) -> BadInputError:
    return BadInputError(*(Problem(name, 0, 0, fault, "mend the package") for fault in faults))
