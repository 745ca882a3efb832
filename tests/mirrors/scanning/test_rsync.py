"""A listing by rsync is complete and true to the byte, or ends as a named error."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from commonfarm.mirrors.scanning import Code, Limits, Listed, ScanError, list_rsync, rsync
from commonfarm.mirrors.scanning.names import is_plain, leaves
from tests.mirrors.scanning.hostile import LOCAL, PUBLIC
from tests.mirrors.scanning.rsyncd import entry, folder, listing
from tests.mirrors.scanning.servers import free_port, rsyncd

AT = 1_795_000_001
# When root starts the daemon it would become nobody, who cannot read root's temporary folders.
AS_US = "uid = 0\ngid = 0" if os.getuid() == 0 else ""
SHORT = Limits(connect_seconds=5, silence_seconds=5, total_seconds=20)


def put(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)
    os.utime(path, (AT, AT))


def ended(url: str, limits: Limits = SHORT) -> ScanError:
    with pytest.raises(ScanError) as caught:
        list(list_rsync(url, LOCAL, limits))
    assert isinstance(caught.value.reason.code, Code)
    return caught.value


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[subprocess.Popen[bytes]]]:
    """All rsyncs that a test has started; none may outlive its listing."""
    processes: list[subprocess.Popen[bytes]] = []
    real = rsync._started

    def noted(target: str, limits: Limits) -> subprocess.Popen[bytes]:
        processes.append(real(target, limits))
        return processes[-1]

    monkeypatch.setattr(rsync, "_started", noted)
    yield processes
    assert all(process.returncode is not None for process in processes)


def test_a_real_daemon_is_listed_to_the_byte(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    names = ["a.deb", "with space", "-l", "a -> b", "back\\#012slash", "ä.deb", "x#y?z*", ".hidden"]
    sizes = {name: number for number, name in enumerate(names)}
    sizes |= {"pool/" + name: size + 100 for name, size in sizes.items()}
    sizes["pool/huge.iso"] = 2**41 + 1
    for name, size in sizes.items():
        put(tree / name, size)
    for foreign in ("new\nline", "tab\there", "bell\a", os.fsdecode(b"\xff8bit")):
        put(tree / foreign, 1)
    (tree / "link").symlink_to("pool")
    (tree / "loop").symlink_to(".")
    (tree / "file-link").symlink_to("a.deb")
    for number, target in enumerate(("pool/", "../../up", "..", "/etc//passwd", "a\nb")):
        (tree / f"link{number}").symlink_to(target)
    with rsyncd(tmp_path / "home", tree, AS_US) as url:
        listed = list(list_rsync(url, LOCAL, SHORT))
        below = list(list_rsync(url + "pool/", LOCAL, SHORT))
    assert {file.path: file.size for file in listed} == sizes
    assert {(file.exact, file.modified_at) for file in listed} == {(True, AT)}
    assert {"pool/" + file.path for file in below} == {
        name for name in sizes if name.startswith("pool/")
    }


def test_an_empty_tree_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    with rsyncd(tmp_path / "home", tmp_path / "tree", AS_US) as url:
        assert list(list_rsync(url, LOCAL, SHORT)) == []


def test_a_folder_that_cannot_be_read_does_not_hide_the_rest(tmp_path: Path) -> None:
    top = Path(tempfile.mkdtemp(prefix="cf-rsync-"))
    try:
        top.chmod(0o755)
        put(top / "tree/a.deb", 1)
        (top / "tree/lost+found").mkdir(mode=0)
        with rsyncd(tmp_path / "home", top / "tree") as url:
            assert [file.path for file in list_rsync(url, LOCAL, SHORT)] == ["a.deb"]
    finally:
        shutil.rmtree(top)


def test_modules_and_folders_that_are_not_there_are_named(tmp_path: Path) -> None:
    put(tmp_path / "tree/a.deb", 1)
    with rsyncd(tmp_path / "home", tmp_path / "tree", AS_US) as url:
        unknown = ended(url.replace("/tree/", "/forest/"))
        assert unknown.reason.code == Code.NO_LISTING and "Unknown module" in str(unknown)
        assert ended(url + "pool/").reason.code == Code.NO_LISTING
    assert ended(f"rsync://127.0.0.1:{free_port()}/tree/").reason.code == Code.NOT_REACHED


def test_a_module_that_wants_a_password_is_refused_and_does_not_ask(tmp_path: Path) -> None:
    secrets = tmp_path / "secrets"
    secrets.write_text("anna:secret\n")
    secrets.chmod(0o600)
    options = f"{AS_US}\nauth users = anna\nsecrets file = {secrets}"
    (tmp_path / "tree").mkdir()
    with rsyncd(tmp_path / "home", tmp_path / "tree", options) as url:
        refused = ended(url)
    assert refused.reason.code == Code.NO_LISTING and "auth failed" in str(refused)


def test_a_daemon_that_is_too_busy_says_so(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    options = f"{AS_US}\nmax connections = 1\nlock file = {tmp_path}/lock"
    with rsyncd(tmp_path / "home", tmp_path / "tree", options) as url:
        port = int(url.rpartition(":")[2].partition("/")[0])
        with socket.create_connection(("127.0.0.1", port)) as other:
            other.sendall(b"@RSYNCD: 29.0\ntree\n")
            with other.makefile("rb") as told:
                while told.readline() != b"@RSYNCD: OK\n":
                    pass
            busy = ended(url)
    assert busy.reason.code == Code.SERVER_ERROR and "max connections" in str(busy)


def resolving_to(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    def getaddrinfo(host: str, port: int, **_: Any) -> list[Any]:
        kind = socket.SOCK_STREAM
        return [
            (socket.AF_INET6 if ":" in one else socket.AF_INET, kind, 6, "", (one, port))
            for one in addresses
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


@pytest.mark.parametrize("addresses", [("10.0.0.1",), ("8.8.8.8", "10.0.0.1"), ("127.0.0.1",)])
def test_a_name_that_leads_into_private_networks_is_never_connected_to(
    monkeypatch: pytest.MonkeyPatch,
    started: list[subprocess.Popen[bytes]],
    addresses: tuple[str, ...],
) -> None:
    resolving_to(monkeypatch, *addresses)
    with pytest.raises(ScanError) as refused:
        list(list_rsync("rsync://mirror.example.org/tree/", PUBLIC))
    assert refused.value.reason.code == Code.ADDRESS_REFUSED
    assert started == []


def test_a_name_that_stands_for_nothing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def getaddrinfo(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert ended("rsync://mirror.example.org/tree/").reason.code == Code.NO_ADDRESS


def test_the_next_address_is_tried_and_only_those_that_were_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[subprocess.Popen[bytes]]
) -> None:
    put(tmp_path / "tree/a.deb", 1)
    with rsyncd(tmp_path / "home", tmp_path / "tree", AS_US) as url:
        resolving_to(monkeypatch, "127.0.0.2", "127.0.0.1")
        url = url.replace("127.0.0.1", "mirror.example.org")
        assert [file.path for file in list_rsync(url, LOCAL, SHORT)] == ["a.deb"]
    targets = [str(process.args[-1]) for process in started]  # type: ignore[index]
    assert [target.partition("//")[2].partition(":")[0] for target in targets] == [
        "127.0.0.2",
        "127.0.0.1",
    ]


def test_a_proxy_in_the_environment_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RSYNC_PROXY", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("RSYNC_CONNECT_PROG", "touch " + str(tmp_path / "connected"))
    put(tmp_path / "tree/a.deb", 1)
    with rsyncd(tmp_path / "home", tmp_path / "tree", AS_US) as url:
        assert [file.path for file in list_rsync(url, LOCAL, SHORT)] == ["a.deb"]
    assert not (tmp_path / "connected").exists()


@pytest.mark.parametrize("missing", ["setpriv", "rsync"])
def test_a_tool_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    if missing == "rsync":
        (tmp_path / "setpriv").symlink_to(str(shutil.which("setpriv")))
    monkeypatch.setenv("PATH", str(tmp_path))
    error = ended("rsync://127.0.0.1:1/tree/")
    assert error.reason.code == Code.TOOL_MISSING and missing in str(error)


@pytest.mark.parametrize("name", [b"../../etc/passwd", b"a/../../b", b"/etc/passwd"])
def test_a_daemon_that_lists_what_is_outside_is_refused(name: bytes) -> None:
    with listing(lambda _: [folder(b".") + entry(b"good") + entry(name) + b"\0" * 5]) as url:
        error = ended(url)
    assert error.reason.code == Code.UNSAFE_NAME, error


@pytest.mark.parametrize(
    "line",
    [
        "-rw-r--r--           7 2026/01/02 03:04:05 ../x",
        "-rw-r--r--           7 2026/01/02 03:04:05 a/../../x",
        "-rw-r--r--           7 2026/01/02 03:04:05 /etc/passwd",
        "-rw-r--r--           7 2026/01/02 03:04:05 a//b",
        "-rw-r--r--           7 2026/01/02 03:04:05 a/.",
        "drwxr-xr-x           7 2026/01/02 03:04:05 ..",
        "drwxr-xr-x           7 2026/01/02 03:04:05 \\#056\\#056/x",
        "lrwxrwxrwx           7 2026/01/02 03:04:05 ../x",
    ],
)
def test_a_name_outside_refuses_the_listing(line: str) -> None:
    with pytest.raises(ScanError) as refused:
        list(rsync.parse(line + "\n"))
    assert refused.value.reason.code == Code.UNSAFE_NAME


@pytest.mark.parametrize(
    "line", ["", "hello", "-rw-r--r-- -5 2026/01/02 03:04:05 a", "-rw-r--r-- 5 2026/01/02 a", "\0"]
)
def test_a_line_that_is_none_refuses_the_listing(line: str) -> None:
    with pytest.raises(ScanError) as refused:
        list(rsync.parse(line + "\n"))
    assert refused.value.reason.code == Code.BAD_ANSWER


def test_sizes_with_commas_and_times_that_are_none_are_taken() -> None:
    assert list(
        rsync.parse(
            "-rw-r--r--  1,234,567,890 2026/01/02 03:04:05 a\n"
            "-rw-r--r--              7 9999/99/99 03:04:05 b\n"
            "crw-r--r--              7 2026/01/02 03:04:05 device\n"
        )
    ) == [Listed("a", 1_234_567_890, True, 1_767_323_045), Listed("b", 7, True, None)]


@settings(deadline=None, max_examples=200)
@example("a\\#0121")
@example("\\\\#012")
@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_every_name_is_read_as_rsync_prints_it(name: str) -> None:
    # log.c: what is not printable, and a backslash before # and three digits, as \#ooo
    printed = ""
    for number, char in enumerate(name):
        rest = name[number + 1 : number + 5]
        mark = char == "\\" and rest[:1] == "#" and len(rest) == 4 and rest[1:].isdecimal()
        odd = (ord(char) < 32 and char != "\t") or ord(char) == 127
        printed += f"\\#{ord(char):03o}" if mark or odd else char
    line = f"-rw-r--r--             7 2026/01/02 03:04:05 {printed}\n"
    if leaves(name):
        with pytest.raises(ScanError):
            list(rsync.parse(line))
    else:
        expected = [Listed(name, 7, True, 1_767_323_045)] if is_plain(name) else []
        assert list(rsync.parse(line)) == expected


def endless(_: threading.Event) -> Iterable[bytes]:
    yield folder(b".")
    for number in itertools.count():
        yield b"".join(entry(b"%012d-%d" % (number, one)) for one in range(2000))


def test_a_listing_that_never_ends_is_cut_by_its_memory(
    started: list[subprocess.Popen[bytes]],
) -> None:
    with listing(endless) as url:
        error = ended(url, replace(SHORT, rsync_memory_bytes=64 * 2**20))
    assert error.reason.code == Code.TOO_LARGE
    assert len(started) == 1


def test_a_listing_that_never_ends_is_cut_by_time(started: list[subprocess.Popen[bytes]]) -> None:
    def slowly(over: threading.Event) -> Iterable[bytes]:
        yield folder(b".")
        while not over.wait(0.05):
            yield entry(b"x")

    with listing(slowly) as url:
        assert ended(url, replace(SHORT, total_seconds=0.5)).reason.code == Code.TOO_SLOW
    assert len(started) == 1


def test_a_daemon_that_falls_silent_is_left() -> None:
    def silent(over: threading.Event) -> Iterable[bytes]:
        yield folder(b".")
        over.wait(20)

    with listing(silent) as url:
        assert ended(url, replace(SHORT, silence_seconds=1)).reason.code == Code.TOO_SLOW


@pytest.mark.parametrize("junk", [b"\xff" * 64, b"", entry(b"a" * 5000), b"\x41" + b"\xff" * 8])
def test_junk_is_an_error_with_a_name(junk: bytes) -> None:
    with listing(lambda _: [junk] if junk else []) as url:
        assert ended(url).reason.code in (Code.BAD_ANSWER, Code.TOO_LARGE)


@pytest.mark.parametrize(
    "limits", [replace(SHORT, names=50), replace(SHORT, listing_bytes=4000)], ids=["names", "bytes"]
)
def test_a_listing_has_an_end_in_names_and_bytes(
    tmp_path: Path, limits: Limits, started: list[subprocess.Popen[bytes]]
) -> None:
    for number in range(200):
        put(tmp_path / f"tree/{number}", 1)
    with rsyncd(tmp_path / "home", tmp_path / "tree", AS_US) as url:
        assert ended(url, limits).reason.code == Code.TOO_LARGE


def test_who_stops_reading_ends_rsync(
    tmp_path: Path, started: list[subprocess.Popen[bytes]]
) -> None:
    for number in range(20_000):
        put(tmp_path / f"tree/{number % 10}/{number}-{'x' * 40}", 1)
    with rsyncd(tmp_path / "home", tmp_path / "tree", AS_US) as url:
        files = list_rsync(url, LOCAL, SHORT)
        assert next(files).size == 1
        assert started[0].returncode is None
        files.close()  # type: ignore[attr-defined]
    assert started[0].returncode is not None


def test_rsync_does_not_outlive_a_killed_worker() -> None:
    code = (
        "import sys\n"
        "from commonfarm.mirrors.addresses import Policy\n"
        "from commonfarm.mirrors.scanning import rsync\n"
        "real = rsync._started\n"
        "def noted(*arguments):\n"
        "    process = real(*arguments)\n"
        "    print(process.pid, flush=True)\n"
        "    return process\n"
        "rsync._started = noted\n"
        "list(rsync.list_rsync(sys.argv[1], Policy(True, frozenset())))\n"
    )

    def silent(over: threading.Event) -> Iterable[bytes]:
        yield folder(b".")
        over.wait(20)

    with listing(silent) as url:
        worker = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE)
        with worker:
            assert worker.stdout is not None
            pid = int(worker.stdout.readline())
            until = time.monotonic() + 10
            # Before that it is not told of our death; its broken pipe or its timeout ends it.
            while not Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"rsync"):
                assert time.monotonic() < until
            worker.send_signal(signal.SIGKILL)
        while _runs(pid):
            assert time.monotonic() < until


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
