"""Whatever happens to the writer, a whole map lies there: the old one or the new one."""

from __future__ import annotations

import gc
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
)
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from commonfarm.redirector.mirror_map import MapError, disk, load, reading, to_be_signed
from commonfarm.redirector.mirror_map.writing import (
    Columns,
    Payload,
    build_delta,
    install,
    stage,
    write,
)
from tests.redirector.mirror_maps import FILES, GONE_PATH, HASHES, KEY, full, head, in_place, sign

PUBLIC = KEY.public_key()
KILLED = 9


def delta_without(folder: Path, path: str = GONE_PATH, generation: int = 6) -> Payload:
    return build_delta(load(folder, PUBLIC), head(generation), Columns.of({}, 11, gone=[path]))


def killed_at(step: int, work: Callable[[], None]) -> bool:
    """Do `work` in a process that is killed at its `step`th line in `disk`; say if it was."""
    child = os.fork()
    if child == 0:
        left = step

        def trace(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal left
            if frame.f_code.co_filename != disk.__file__:
                return None
            if event == "line":
                left -= 1
                if left < 0:
                    os._exit(KILLED)
            return trace

        try:
            sys.settrace(trace)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, KILLED)
    return code == KILLED


def states(folder: Path, prepare: Callable[[], Payload]) -> list[tuple[int, bool]]:
    """Return what is in force after a kill at each step: generation, and whether a file is there.

    Each time all begins anew, from what the kill before left.
    """
    found = []
    for step in range(200):
        payload = prepare()
        signature = sign(payload)
        killed = killed_at(step, lambda: write(folder, payload, signature, PUBLIC))  # noqa: B023
        after = load(folder, PUBLIC)
        assert after.find("demo/pool/1.deb") == FILES["demo/pool/1.deb"]
        assert after.hashes("demo/pool/3.deb") == HASHES["demo/pool/3.deb"]
        found.append((after.generation, after.find(GONE_PATH) is not None))
        if not killed:
            assert not after.delta_problem
            return found
    raise AssertionError("it has no end")


def test_a_kill_at_any_step_of_a_full_map_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    def prepare() -> Payload:
        in_place(tmp_path, full(5))
        in_place(tmp_path, delta_without(tmp_path))
        return full(7)

    found = states(tmp_path, prepare)
    assert len(found) > 20
    assert set(found) == {(6, False), (7, True)}
    assert found == sorted(found)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["current"]


def test_a_kill_at_any_step_of_a_delta_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    def prepare() -> Payload:
        in_place(tmp_path, full(5))
        return delta_without(tmp_path)

    found = states(tmp_path, prepare)
    assert len(found) > 15
    assert set(found) == {(5, True), (6, False)}
    assert found == sorted(found)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["current", "delta"]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file grow beyond `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("size", [0, 10, 1000, 30_000])
def test_a_write_that_is_cut_short_is_an_error_and_leaves_the_old_map(
    tmp_path: Path, size: int
) -> None:
    in_place(tmp_path, full(5))
    with room_for(size), pytest.raises(OSError, match="File too large"):
        stage(tmp_path, full(6))
    assert [one.name for one in tmp_path.iterdir()] == ["current"]
    assert load(tmp_path, PUBLIC).generation == 5


def test_a_disk_that_fails_at_the_end_leaves_the_old_map(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_place(tmp_path, full(5))

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        stage(tmp_path, full(6))
    assert [one.name for one in tmp_path.iterdir()] == ["current"]
    assert load(tmp_path, PUBLIC).generation == 5


def test_a_wrong_signature_never_takes_the_place_of_a_good_map(tmp_path: Path) -> None:
    in_place(tmp_path, full(5))
    payload = full(6)
    stranger = Ed25519PrivateKey.generate()
    for signature in (stranger.sign(to_be_signed(payload.header)), sign(full(7))):
        with pytest.raises(MapError, match="not by the key"):
            install(stage(tmp_path, payload), signature, PUBLIC)
    with pytest.raises(ValueError, match="64 bytes, not 3"):
        install(stage(tmp_path, payload), b"abc", PUBLIC)
    assert load(tmp_path, PUBLIC).generation == 5


def test_what_is_staged_is_no_map_yet(tmp_path: Path) -> None:
    staged = stage(tmp_path, full())
    staged.replace(tmp_path / "current")
    with pytest.raises(MapError, match="signature"):
        load(tmp_path, PUBLIC)


def test_a_new_full_map_ends_the_delta(tmp_path: Path) -> None:
    in_place(tmp_path, full(5))
    assert in_place(tmp_path, delta_without(tmp_path)).generation == 6
    after = in_place(tmp_path, full(7))
    assert (after.generation, after.delta_problem) == (7, "")
    assert [one.name for one in tmp_path.iterdir()] == ["current"]


def test_a_delta_that_was_signed_for_a_map_that_is_gone_is_refused(tmp_path: Path) -> None:
    in_place(tmp_path, full(5))
    late = delta_without(tmp_path, generation=8)
    after = in_place(tmp_path, full(7), late)
    assert "it belongs to another full map (generation 5)" in after.delta_problem
    assert after.generation == 7


def test_a_full_map_that_was_read_is_not_read_again_but_never_another_one(tmp_path: Path) -> None:
    in_place(tmp_path, full())
    before = load(tmp_path, PUBLIC)
    in_place(tmp_path, delta_without(tmp_path))
    after = load(tmp_path, PUBLIC, before)
    assert (after.generation, after.full) == (6, before.full)
    other = Ed25519PrivateKey.generate().public_key()
    with pytest.raises(MapError, match="not by the key"):
        load(tmp_path, other, before)
    in_place(tmp_path, full())
    assert load(tmp_path, PUBLIC, after).full is not before.full
    (tmp_path / "current").write_bytes(b"rubbish")
    with pytest.raises(MapError, match="does not start with"):
        load(tmp_path, PUBLIC, before)


def test_who_has_the_old_map_open_keeps_all_of_it(tmp_path: Path) -> None:
    old = in_place(tmp_path, full(5))
    in_place(tmp_path, full(6))
    assert {path: old.find(path) for path in FILES} == FILES
    assert {path: old.hashes(path) for path in FILES} == {path: HASHES.get(path) for path in FILES}


def test_a_map_that_is_used_no_more_is_closed(tmp_path: Path) -> None:
    in_place(tmp_path, full())
    gc.collect()  # what other tests left open is closed now, or later
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        load(tmp_path, PUBLIC).find("demo/pool/1.deb")
        with pytest.raises(MapError):
            load(tmp_path, Ed25519PrivateKey.generate().public_key())
    assert len(list(Path("/proc/self/fd").iterdir())) <= before


def test_everybody_may_read_it_whatever_the_mask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        staged = stage(tmp_path, full())
        assert stat.S_IMODE(staged.stat().st_mode) == 0o644
        install(staged, sign(full()), PUBLIC)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "current").stat().st_mode) == 0o644


def test_a_full_map_that_is_replaced_while_it_is_read_is_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would serve without its delta, which the new one has ended."""
    in_place(tmp_path, full(5))
    in_place(tmp_path, delta_without(tmp_path))
    once = [full(7)]
    named = reading._named

    def slow(file: Path, *told: Any) -> reading.Part:
        part = named(file, *told)
        if once:
            payload = once.pop()
            write(tmp_path, payload, sign(payload), PUBLIC)
        return part

    monkeypatch.setattr(reading, "_named", slow)
    assert load(tmp_path, PUBLIC).generation == 7


def test_a_reader_beside_a_busy_writer_always_has_a_whole_map(tmp_path: Path) -> None:
    key = KEY.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    in_place(tmp_path, full(5))
    code = (
        "import sys; from pathlib import Path\n"
        "from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey\n"
        "from tests.redirector import mirror_maps as made\n"
        "made.KEY = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(sys.stdin.readline()))\n"
        "from tests.redirector.test_mirror_map_disk import delta_without\n"
        "import tests.redirector.test_mirror_map_disk as disk\n"
        "disk.PUBLIC = made.KEY.public_key()\n"
        "folder, generation = Path(sys.argv[1]), 5\n"
        "while True:\n"
        "    made.in_place(folder, made.full(generation + 1))\n"
        "    made.in_place(folder, delta_without(folder, generation=generation + 2))\n"
        "    generation += 2\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdin is not None
        writer.stdin.write(key.hex() + "\n")
        writer.stdin.flush()
        try:
            newest = 0
            while newest < 25:
                assert writer.poll() is None
                the_map = load(tmp_path, PUBLIC)
                newest = max(newest, the_map.generation)
                assert the_map.hashes("demo/pool/3.deb") == HASHES["demo/pool/3.deb"]
                in_force = the_map.generation % 2 == 1 and the_map.generation > 5
                assert (the_map.find(GONE_PATH) is None) == in_force
        finally:
            writer.kill()
    assert load(tmp_path, PUBLIC).generation >= newest
