"""How often what was downloaded, and how much each mirror was given today. No address is stored.

Counts leave as batches: files of JSON lines in a spool folder, from which the hub takes and removes
them. The first line of a batch is `{"format": 1, "id": …, "day": …}`, each further one
`[tree, path, mirror, country, downloads, bytes]`, where the mirror "" is ourselves. Its `id` is
unique, so a batch that is taken up twice (a kill between counting and removing) is counted once.

A download is a whole file or a range from its first byte; of other ranges only the bytes count.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path

MOST_ENTRIES = 8192
"""How many different counts one batch holds; each takes about 0.2 KB."""
MOST_BATCHES = 8
"""How many batches wait in memory while the disk does not take them; then the oldest is lost."""
MANY_FILES = 512
"""So many batches lying in the spool mean that nobody takes them: fewer and larger ones then."""
MOST_FILES = 16_384
MOST_BYTES = 2**30
"""So many batches or bytes of them, and counts are lost rather than the disk filled."""
LINES_AT_ONCE = 500
"""How many lines are made before the requests have their turn again: under a millisecond."""

ONE = 1 << 64
"""A count is one number, the downloads above this bit and the bytes below: one addition each."""

log = logging.getLogger("commonfarm.redirector")


def key_end(mirror: str, country: str) -> bytes:
    """Return what follows the path in the key of a count."""
    return f"\0{mirror}\0{country}".encode()


@dataclass(frozen=True, slots=True)
class Batch:
    """What was counted on a UTC day.

    It has its id from the beginning: one that is written again, since nobody knows whether it came
    to the disk, is the same one.
    """

    id: str
    day: str
    entries: dict[bytes, int]


class Counts:
    """Counts of one UTC day, and the batches that wait to be written."""

    def __init__(self, day: str = "") -> None:
        self.day = day
        self.entries: dict[bytes, int] = {}
        self.waiting: deque[Batch] = deque()
        self.lost = 0

    def add(self, path: bytes, end: bytes, downloads: int, size: int) -> None:
        """Count for `path` (`tree/path`) and `end` (see `key_end`)."""
        entries, key = self.entries, path + end
        entries[key] = entries.get(key, 0) + (ONE * downloads + size)
        if len(entries) >= MOST_ENTRIES:
            self.close()

    def close(self) -> None:
        """Let what was counted wait as a batch of its own."""
        if not self.entries:
            return
        self.waiting.append(Batch(secrets.token_hex(16), self.day, self.entries))
        self.entries = {}
        if len(self.waiting) > MOST_BATCHES:
            self.lost += len(self.waiting.popleft().entries)

    def begin(self, day: str) -> None:
        """Count for `day` (`2026-11-21`) from now on."""
        if day != self.day:
            self.close()
            self.day = day


def lines_of(batch: Batch) -> Iterator[bytes]:
    """Give `batch` as it is written, piece by piece, each made in under a millisecond."""
    made = [json.dumps({"format": 1, "id": batch.id, "day": batch.day}) + "\n"]
    ends: dict[str, str] = {}
    for number, (key, value) in enumerate(batch.entries.items(), 1):
        path, _, end = key.decode("utf-8", "surrogateescape").partition("\0")
        tree, _, inside = path.partition("/")
        quoted_end = ends.get(end)
        if quoted_end is None:  # one for each mirror and country
            quoted_end = ends[end] = ",".join(map(quoted, end.split("\0")))
        made.append(
            f"[{quoted(tree)},{quoted(inside)},{quoted_end},{value >> 64},{value & (ONE - 1)}]\n"
        )
        if number % LINES_AT_ONCE == 0:
            yield "".join(made).encode()
            made = []
    yield "".join(made).encode()


class Spool:
    """The folder through which counts leave, and where what was spent today outlives a restart."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def clear_away(self) -> None:
        """Remove what a process that was killed had begun to write."""
        for file in self.folder.glob(".*.new"):
            file.unlink(missing_ok=True)

    def waiting(self) -> tuple[int, int]:
        """Return how many batches lie there, and their bytes; OSError when there is no telling."""
        sizes = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(".counts"):
                    with suppress(FileNotFoundError):  # it was taken up just now
                        sizes.append(entry.stat(follow_symlinks=False).st_size)
        return len(sizes), sum(sizes)

    def write(self, name: str, data: bytes) -> None:
        """Put a batch there, whole or not at all, and on disk; OSError says why not."""
        _replace(self.folder / f"{name}.counts", data)

    def keep_spent(self, day: str, spent: dict[str, int]) -> None:
        """Note what each mirror (by its name) was given on `day`, in bytes."""
        _replace(self.folder / "spent.json", json.dumps({"day": day, "spent": spent}).encode())

    def spent(self, day: str) -> dict[str, int]:
        """Return what was noted for `day`; nothing for another day or of an unreadable file."""
        try:
            found = json.loads((self.folder / "spent.json").read_bytes())
            if found["day"] != day:
                return {}
            return {str(name): max(int(size), 0) for name, size in found["spent"].items()}
        except FileNotFoundError:
            return {}
        except (
            OSError,
            ArithmeticError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            RecursionError,
        ) as error:
            log.error("what mirrors were given today is unknown: %s", error)
            return {}


def _replace(file: Path, data: bytes) -> None:
    new = file.with_name(f".{file.name}.new")
    with new.open("wb") as out:
        out.write(data)
        out.flush()
        os.fchmod(out.fileno(), 0o640)
        os.fsync(out.fileno())
    new.replace(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
