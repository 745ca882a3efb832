"""Listing a mirror by rsync, whose client does the talking: `rsync --list-only --recursive`."""

from __future__ import annotations

import os
import re
import resource
import selectors
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from urllib.parse import urlsplit

from commonfarm.lib.terminal import harmless
from commonfarm.mirrors.addresses import AddressRefusedError, Policy, addresses_of
from commonfarm.mirrors.scanning.names import is_plain, leaves
from commonfarm.mirrors.scanning.values import Code, Limits, Listed, ScanError, failure

_LINE = re.compile(
    r"^([-a-zA-Z?])\S{9} +([0-9,]{1,26}) (\S+) (\d\d:\d\d:\d\d) (.+)\n", re.MULTILINE
)
"""One line of a listing: `-rw-r--r--    1,234 2026/01/31 12:00:00 pool/a.deb`."""
_ESCAPE = re.compile(r"\\#([0-7]{3})")
"""How rsync prints a byte that is not printable, and a backslash before what looks like one."""
_MARKS = ("\\#", "./", "//", " /", ".\n", "/\n", "\t", "\x7f")
"""One of these is in any text with a name that needs a closer look, if it is ASCII."""
_READ_BYTES = 256 * 1024
_LONGEST_LINE = 64 * 1024
_MOST_ERRORS = 4096

_PARTIAL = (23, 24)
"""rsync could not read some folder, or a file vanished: what it did list is there (rsync(1))."""
_NO_COMMAND = 127
"""What setpriv ends with when it does not find what it is to run (exit codes of POSIX shells)."""


def list_rsync(url: str, policy: Policy, limits: Limits | None = None) -> Iterator[Listed]:
    """Yield the files that the rsync daemon at `url` (rsync://HOST/MODULE/PATH/) lists.

    Symlinks are left out. The links of a release tree are resolved before mirrors are asked (only
    canonical paths are looked up), and whether a link of the mirror's own making leads to a file is
    for its web server to say, so `check` sees it. Names that no tree can have are left out, too.

    Raises ScanError when the mirror cannot be listed or its listing is not to be trusted. What was
    yielded until then may be true, but what was not yielded is unknown. Closing the iterator early
    ends rsync, as does the end of the thread that reads.
    """
    limits = limits or Limits()
    deadline = time.monotonic() + limits.total_seconds
    parts = urlsplit(url)
    try:
        addresses = addresses_of(url, policy)
    except AddressRefusedError as error:
        raise failure(Code.ADDRESS_REFUSED, str(error)) from None
    except OSError as error:
        text = f"{parts.hostname} cannot be resolved: {error.strerror or error}"
        raise failure(Code.NO_ADDRESS, text, "look at the name") from None
    for number, address in enumerate(addresses, 1):
        host = f"[{address}]" if ":" in address else address
        try:
            # rsync is given the very address that was judged, never the name.
            yield from _listing(f"rsync://{host}:{parts.port or 873}{parts.path}", limits, deadline)
        except ScanError as error:
            if error.reason.code != Code.NOT_REACHED or number == len(addresses):
                raise
        else:
            return


def _listing(target: str, limits: Limits, deadline: float) -> Iterator[Listed]:
    process = _started(target, limits)
    errors = bytearray()
    names = 0
    try:
        for text in _whole_lines(_output(process, errors, limits, deadline)):
            names += text.count("\n")
            if names > limits.names:
                raise _too_large(f"more than {limits.names} names")
            yield from parse(text)
        _judge_end(process.wait(), bytes(errors), names, limits)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                pipe.close()


def _started(target: str, limits: Limits) -> subprocess.Popen[bytes]:
    command = [
        # Our own kill -9 must not leave it behind.
        *("setpriv", "--pdeathsig", "KILL", "--"),
        *("rsync", "--list-only", "--recursive", "--no-motd", "--8-bit-output"),
        *("--no-human-readable", f"--contimeout={max(1, round(limits.connect_seconds))}"),
        *(f"--timeout={max(1, round(limits.silence_seconds))}", "--", target),
    ]
    try:
        process = subprocess.Popen(
            command,
            # Nothing of ours goes along: RSYNC_PROXY and RSYNC_CONNECT_PROG would go elsewhere.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise _not_installed(error.filename) from None
    # It holds the names of a whole folder in memory before it prints the first.
    most = limits.rsync_memory_bytes
    with suppress(ProcessLookupError):
        resource.prlimit(process.pid, resource.RLIMIT_AS, (most, most))
    return process


def _output(
    process: subprocess.Popen[bytes], errors: bytearray, limits: Limits, deadline: float
) -> Iterator[bytes]:
    """Yield what rsync prints; what it complains about goes to `errors`. All of it is bounded."""
    assert process.stdout is not None and process.stderr is not None
    seen = 0
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        selector.register(process.stderr, selectors.EVENT_READ)
        while selector.get_map():
            left = deadline - time.monotonic()
            ready = selector.select(max(0.0, left)) if left > 0 else []
            if not ready:
                text = f"it could not be listed in {limits.total_seconds:.0f} seconds"
                raise failure(Code.TOO_SLOW, text, "try again when it is less busy")
            for key, _ in ready:
                data = os.read(key.fd, _READ_BYTES)
                seen += len(data)
                if seen > limits.listing_bytes:
                    raise _too_large(f"more than {limits.listing_bytes} bytes")
                if not data:
                    selector.unregister(key.fileobj)
                elif key.fileobj is process.stderr:
                    errors += data[: _MOST_ERRORS - len(errors)]
                else:
                    yield data


def _whole_lines(pieces: Iterator[bytes]) -> Iterator[str]:
    """Yield text that ends with a line; bytes that are no UTF-8 become surrogates."""
    rest = b""
    for piece in pieces:
        cut = piece.rfind(b"\n") + 1
        if not cut:
            rest += piece
        else:
            yield (rest + piece[:cut]).decode("utf-8", "surrogateescape")
            rest = piece[cut:]
        if len(rest) > _LONGEST_LINE:
            raise failure(Code.BAD_ANSWER, f"a line of its listing is over {_LONGEST_LINE} bytes")
    if rest:
        yield (rest + b"\n").decode("utf-8", "surrogateescape")


def parse(text: str) -> Iterator[Listed]:
    """Yield the files in whole lines of `rsync --list-only`; ScanError for what is not one.

    Times are taken as UTC. Names are as rsync(1) prints them: `\\#ooo` is a byte in octal.
    """
    lines = _LINE.findall(text)
    if len(lines) != text.count("\n"):
        odd = next(line for line in text.splitlines(keepends=True) if not _LINE.fullmatch(line))
        raise failure(Code.BAD_ANSWER, f"its listing has a line {harmless(odd[:200].strip())!r}")
    suspect = not text.isascii() or any(mark in text for mark in _MARKS)
    for kind, size, day, clock, name in lines:
        if suspect:
            if kind == "l":  # where it leads to is for the mirror to know
                name = name.partition(" -> ")[0]
            name = _unescaped(name)
            if leaves(name) and (kind, name) != ("d", "."):
                text = f"it lists {harmless(name[:200])!r}, which leads out of the folder"
                raise failure(Code.UNSAFE_NAME, text, "ask its administrator what happened")
            if not is_plain(name):
                continue
        if kind == "-":
            began = _day(day)
            modified_at = None if began is None else began + _second(clock)
            yield Listed(name, int(size.replace(",", "")), True, modified_at)


def _unescaped(name: str) -> str:
    return _ESCAPE.sub(
        lambda found: bytes([int(found[1], 8) & 0xFF]).decode("utf-8", "surrogateescape"), name
    )


@lru_cache(maxsize=20_000)
def _day(day: str) -> int | None:
    """Return the beginning of `2026/01/31` in epoch seconds, or None when it is no day."""
    try:
        return int(datetime.strptime(day, "%Y/%m/%d").replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


@lru_cache(maxsize=86_400)
def _second(clock: str) -> int:
    """Return the second of the day that `12:00:00` is."""
    return int(clock[:2]) * 3600 + int(clock[3:5]) * 60 + int(clock[6:])


def _not_installed(tool: str) -> ScanError:
    return failure(Code.TOOL_MISSING, f"{tool} is not installed here", "run `commonfarm doctor`")


def _too_large(text: str) -> ScanError:
    return failure(
        Code.TOO_LARGE, f"its listing has {text}", "register the folder of the tree alone"
    )


def _judge_end(code: int, errors: bytes, names: int, limits: Limits) -> None:
    """Raise ScanError unless rsync's exit code (rsync(1), EXIT VALUES) means a listing."""
    if code == 0 or (code in _PARTIAL and names):
        return
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    said = "; ".join(harmless(line.strip()[:200]) for line in lines[:3]) or f"it ended with {code}"
    text = said if said.startswith("rsync") else f"rsync: {said}"
    if code == _NO_COMMAND:
        raise _not_installed("rsync")
    if "unsafe pathname" in said or "unsafe path" in said:
        raise failure(Code.UNSAFE_NAME, text, "ask its administrator what happened")
    if code in (10, 35) and not names:
        raise failure(Code.NOT_REACHED, text, "look whether its rsync daemon runs")
    if code == 30:
        raise failure(Code.TOO_SLOW, text, "try again when it is less busy")
    if "max connections" in said:
        raise failure(Code.SERVER_ERROR, text, "try again when it is less busy")
    if code in (5, 23):
        raise failure(Code.NO_LISTING, text, "look at module and path of its rsync address")
    if (code == 22 and "out of memory" in said) or code < 0:
        memory = limits.rsync_memory_bytes // 2**20
        raise _too_large(f"more names than fit into {memory} MiB ({said})")
    raise failure(Code.BAD_ANSWER, text, "look at its rsync daemon")
