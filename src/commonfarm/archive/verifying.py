"""Whether a copy of a release tree is what was published: signed, recent, and whole.

Needs no hub: a key, and a folder or an address. Everything that is read is bounded, and checked
before it is believed: the statement by its signature, the segments by the statement, the files by
the segments.
"""

from __future__ import annotations

import hashlib
import random
import tempfile
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from commonfarm.archive import manifest
from commonfarm.archive.copies import BusyError, Copy, DiffersError, hash_of
from commonfarm.lib.errors import Reason, UnreachableError

SAMPLE = 100
"""So many files of a copy elsewhere are fetched unless told otherwise."""
MOST_ENTRIES = 3_000_000
MOST_PIECES_BYTES = 512 * 2**20
MOST_TOLD = 1000
ATTEMPTS = 3
_BATCH = 4096
_IN_MEMORY_BYTES = 8 * 2**20

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a copy.

    `sample` says of how many files the content is checked: all when it is None. A revision lower
    than `at_least` is a step back; one made longer ago than `max_age` is too old.
    """

    sample: int | None
    at_least: int = 0
    max_age: timedelta | None = None


@dataclass(slots=True)
class Report:
    """What came of it. `problems` are (path, what is wrong), the first MOST_TOLD of `wrong`.

    `others` are files that the manifest does not name, which may lie there for a while.
    """

    statement: manifest.Statement
    files: int = 0
    size: int = 0
    aliases: int = 0
    checked: int = 0
    wrong: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    others: list[str] = field(default_factory=list)
    more_others: int = 0

    def add(self, path: str, what: str) -> None:
        """Note one more thing that is wrong."""
        self.wrong += 1
        if len(self.problems) < MOST_TOLD:
            self.problems.append((path, what))


@dataclass(slots=True)
class _Listed:
    """All that a manifest says, put together."""

    files: dict[str, manifest.File] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    pieces_bytes: int = 0


def verify(
    copy: Callable[[], Copy],
    key: Ed25519PublicKey,
    asked: Asked,
    *,
    now: datetime,
    choose: random.Random,
    progress: Progress | None = None,
) -> Report:
    """Check a copy; `copy` opens it. A tree that changes meanwhile is looked at again.

    Raises manifest.NoManifestError and manifest.NotTrustedError when there is nothing to check it
    by, UnreachableError when it does not answer.
    """
    for attempt in range(ATTEMPTS):
        opened = copy()
        statement = read_statement(opened, key)
        report = Report(statement)
        try:
            _check(opened, asked, report, now, choose, progress)
        except manifest.NoManifestError:
            if attempt == ATTEMPTS - 1 or read_statement(copy(), key) == statement:
                raise
            continue
        if not report.wrong or read_statement(copy(), key) == statement:
            break
    return report


def read_statement(copy: Copy, key: Ed25519PublicKey) -> manifest.Statement:
    """Return the copy's statement, as `key` has signed it; errors as in `verify`."""
    try:
        read = copy.read(manifest.STATEMENT_PATH, 0, 2 * manifest.MOST_STATEMENT_BYTES + 1)
        envelope = b"".join(read)
    except BusyError as error:
        what = f"{manifest.STATEMENT_PATH} {error}"
        raise UnreachableError(Reason("copy-unreachable", what, "try again later")) from None
    except DiffersError as error:
        what = (
            f"{manifest.STATEMENT_PATH} {error}; name the address of one tree, of which something"
            " is published (one that is adopted has none)"
        )
        raise manifest.NoManifestError(what) from None
    try:
        return manifest.unseal(envelope, key)
    except (manifest.NoManifestError, manifest.NotTrustedError) as error:
        raise type(error)(f"{manifest.STATEMENT_PATH}: {error}") from None


def _check(
    copy: Copy,
    asked: Asked,
    report: Report,
    now: datetime,
    choose: random.Random,
    progress: Progress | None,
) -> None:
    _check_age(report, asked, now)
    listed = _listed(copy, report.statement)
    report.files, report.aliases = len(listed.files), len(listed.aliases)
    report.size = sum(one.size for one in listed.files.values())
    paths = sorted(listed.files)
    if asked.sample is None:
        chosen = set(paths)
    else:
        chosen = set(choose.sample(paths, min(asked.sample, len(paths))))
    report.checked = len(chosen)
    look = partial(_look, copy, listed, chosen, choose, whole=asked.sample is None)
    with ThreadPoolExecutor(copy.workers) as pool:
        for done, some in enumerate(_in_batches(paths)):
            for path, what in zip(some, pool.map(look, some), strict=True):
                if what:
                    report.add(path, what)
            if progress is not None:
                progress(min((done + 1) * _BATCH, len(paths)), len(paths))
    for path, target in sorted(listed.aliases.items()):
        if what := _look_at_alias(copy, path, target, listed, paths):
            report.add(path, what)
    told = {path for path, _ in report.problems}
    for path in copy.others(listed.files.keys()):
        known = path in told or (path in listed.aliases and copy.target(path) is not None)
        if known or manifest.is_reserved(path):
            continue
        if (behind := resolve(path, listed.aliases)) != path:
            if what := _look_at_twin(copy, path, listed.files.get(behind)):
                report.add(path, what)
        elif len(report.others) < MOST_TOLD:
            report.others.append(path)
        else:
            report.more_others += 1


def _check_age(report: Report, asked: Asked, now: datetime) -> None:
    found = report.statement
    if now > found.valid_until:
        report.add(manifest.STATEMENT_PATH, f"was valid until {found.valid_until}")
    if asked.max_age is not None and now - found.made_at > asked.max_age:
        report.add(manifest.STATEMENT_PATH, f"was made at {found.made_at}, longer ago than allowed")
    if found.made_at - now > timedelta(days=1):
        report.add(manifest.STATEMENT_PATH, f"is of the future, {found.made_at}")
    if found.revision < asked.at_least:
        what = f"is of revision {found.revision}, which is before {asked.at_least}"
        report.add(manifest.STATEMENT_PATH, what)


def _listed(copy: Copy, statement: manifest.Statement) -> _Listed:
    """Return what the segments say, each checked before it is read."""
    listed, since = _Listed(), 0
    for segment in statement.segments:
        with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as packed:
            digest = hashlib.sha256()
            try:
                for some in copy.read(segment.path, 0, segment.size + 1):
                    digest.update(some)
                    packed.write(some)
            except DiffersError as error:
                raise manifest.NoManifestError(f"{segment.path} {error}") from None
            if packed.tell() != segment.size or digest.hexdigest() != segment.sha256:
                raise manifest.NoManifestError(f"{segment.path} is not what the statement names")
            packed.seek(0)
            try:
                head, entries = manifest.read_segment(packed)
                if head != manifest.Head(statement.tree, segment.revision, since):
                    raise manifest.NoManifestError("it does not follow the one before it")
                _apply(listed, entries)
            except manifest.NoManifestError as error:
                raise manifest.NoManifestError(f"{segment.path}: {error}") from None
        since = segment.revision
    return listed


def _apply(listed: _Listed, entries: Iterable[manifest.Entry]) -> None:
    for one in entries:
        listed.files.pop(one.path, None)
        listed.aliases.pop(one.path, None)
        if isinstance(one, manifest.File):
            listed.files[one.path] = one
            listed.pieces_bytes += len(one.pieces)
        elif isinstance(one, manifest.Alias):
            listed.aliases[one.path] = one.target
        too_many = len(listed.files) + len(listed.aliases) > MOST_ENTRIES
        if too_many or listed.pieces_bytes > MOST_PIECES_BYTES:
            raise manifest.NoManifestError("it lists more than can be checked here")


def _look(
    copy: Copy,
    listed: _Listed,
    chosen: set[str],
    choose: random.Random,
    path: str,
    *,
    whole: bool,
) -> str:
    """Return what is wrong with a file of the copy, "" when nothing is."""
    file = listed.files[path]
    try:
        if path not in chosen or not whole:
            size = copy.size(path)
            if size != file.size:
                return f"has {size} bytes instead of {file.size}"
        if path in chosen:
            if not whole and file.pieces and not copy.hashes_all:
                return _look_at_piece(copy, file, choose)
            found = hash_of(copy, path, file.size)
            if found != file.sha256:
                return f"has other bytes: its SHA-256 is {found} instead of {file.sha256}"
    except DiffersError as error:
        return str(error)
    return ""


def _look_at_piece(copy: Copy, file: manifest.File, choose: random.Random) -> str:
    """Check one piece of a long file."""
    number = choose.randrange(len(file.pieces) // 32)
    start = number * file.piece_bytes
    piece = b"".join(copy.read(file.path, start, min(file.piece_bytes, file.size - start)))
    if hashlib.sha256(piece).digest() != file.pieces[32 * number : 32 * number + 32]:
        return f"has other bytes from byte {start} on"
    return ""


def _look_at_alias(
    copy: Copy, path: str, target: str, listed: _Listed, paths: Sequence[str]
) -> str:
    """Check that what is asked for by an alias is what it stands for."""
    found = copy.target(path)
    if found is not None:
        return "" if found == target else f"leads to {found} instead of {target}"
    real = resolve(target, listed.aliases)
    at = bisect_left(paths, real)
    if at < len(paths) and paths[at] == real:
        behind, file = path, listed.files[real]
    else:
        at = bisect_left(paths, f"{real}/")
        if at == len(paths) or not paths[at].startswith(f"{real}/"):
            return ""  # an empty folder is nothing
        behind, file = path + paths[at].removeprefix(real), listed.files[paths[at]]
    try:
        size = copy.size(behind)
    except DiffersError as error:
        return f"{error}, and stands for {target}"
    return "" if size == file.size else f"is not what it stands for, {target}"


def _look_at_twin(copy: Copy, path: str, file: manifest.File | None) -> str:
    """Check a file that lies where an alias should be: whoever copied it followed symlinks."""
    if file is None:
        return "lies where an alias leads to something else"
    try:
        same = hash_of(copy, path, file.size) == file.sha256
    except DiffersError as error:
        return str(error)
    return "" if same else f"has other bytes than {file.path}, which it stands for"


def resolve(path: str, aliases: dict[str, str]) -> str:
    """Return the path that `path` stands for, after at most 40 aliases; the longest counts."""
    for _ in range(40):
        at = len(path)
        while at > 0 and path[:at] not in aliases:
            at = path.rfind("/", 0, at)
        if at <= 0:
            return path
        path = aliases[path[:at]] + path[at:]
    return path


def _in_batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    for begin in range(0, len(paths), _BATCH):
        yield paths[begin : begin + _BATCH]
