"""What is counted, where it goes, and what a kill or a full disk leaves of it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commonfarm.redirector import counts, state
from commonfarm.redirector.counts import MOST_BATCHES, MOST_ENTRIES, Counts, Spool, key_end
from commonfarm.redirector.request import length_of
from commonfarm.redirector.state import Redirector
from tests.redirector.conftest import DEB
from tests.redirector.wire import NOW, get, redirector, talk
from tests.redirector.world import Edge, file_of, mirror

DAY = "2027-01-15"
SIZE = 1000
GERMAN = "X-Forwarded-For: 193.99.144.80\r\n"
HUGE = b'{"day": "2027-01-15", "spent": {"one": 1e999}}'


@pytest.fixture
def shared(tmp_path: Path) -> Redirector:
    (tmp_path / "spool").mkdir()
    return redirector(
        tmp_path,
        [mirror("one", budget_bytes=100_000), mirror("two", country="FR")],
        {"demo/a.deb": file_of(bytes(SIZE), 0, 1), "demo/b.deb": file_of(bytes(7), 0, 1)},
        {"spool": tmp_path / "spool", "trusted_proxies": [ip_network("127.0.0.0/8")]},
    )


def batches(folder: Path) -> list[tuple[dict[str, Any], list[list[Any]]]]:
    found = []
    for file in sorted(folder.glob("*.counts"), key=lambda one: one.stat().st_mtime_ns):
        first, *rest = file.read_text().splitlines()
        found.append((json.loads(first), [json.loads(line) for line in rest]))
        assert found[-1][0]["id"] == file.stem
    return found


def counted(shared: Redirector) -> list[list[Any]]:
    """Let all counts leave, and return their lines."""
    assert shared.spool is not None
    asyncio.run(shared.flush())
    found = [line for _, lines in batches(shared.spool.folder) for line in lines]
    for file in shared.spool.folder.glob("*.counts"):
        file.unlink()
    return found


@pytest.mark.parametrize(
    ("lines", "downloads", "size"),
    [
        ("", 1, SIZE),
        ("Range: bytes=0-\r\n", 1, SIZE),
        ("Range: bytes=0-99\r\n", 1, 100),
        ("Range: bytes=100-199\r\n", 0, 100),
        ("Range: bytes=900-\r\n", 0, 100),
        ("Range: bytes=-50\r\n", 0, 50),
        ("Range: bytes=-5000\r\n", 1, SIZE),
        ("Range: bytes=2000-3000\r\n", 0, 0),
        ("Range: bytes=9-3\r\n", 1, SIZE),
        ("Range: bytes=0-9,20-29\r\n", 1, SIZE),
        ("Range: rubbish\r\n", 1, SIZE),
    ],
)
def test_a_download_begins_at_the_first_byte(
    shared: Redirector, lines: str, downloads: int, size: int
) -> None:
    assert get(shared, "/demo/a.deb", GERMAN + lines)[0] == 302
    assert counted(shared) == [["demo", "a.deb", "one", "DE", downloads, size]]
    assert shared.redirects.spent == {"one": size}


def test_what_moves_no_bytes_is_not_counted(shared: Redirector) -> None:
    etag = get(shared, "/demo/a.deb", method="HEAD")[1]["ETag"]
    assert get(shared, "/demo/a.deb", f"If-None-Match: {etag}\r\n")[0] == 304
    for target in ("/demo/a.deb.meta4", "/demo/a.deb?mirrorlist", "/demo/none", "/-/health"):
        get(shared, target)
    assert counted(shared) == []
    assert list(shared.settings.spool.iterdir()) == []  # type: ignore[union-attr]


def test_equal_ones_are_one_count_however_they_came(shared: Redirector) -> None:
    request = f"GET /demo/a.deb HTTP/1.1\r\nHost: h\r\n{GERMAN}\r\n".encode()
    talk(shared, request)
    talk(shared, request * 3)
    talk(shared, request.replace(b"a.deb", b"%61.deb"))
    talk(shared, request.replace(b"193.99.144.80", b"212.27.48.10"))
    assert counted(shared) == [
        ["demo", "a.deb", "one", "DE", 5, 5 * SIZE],
        ["demo", "a.deb", "two", "FR", 1, SIZE],
    ]


def test_no_address_is_kept(shared: Redirector) -> None:
    get(shared, "/demo/a.deb", GERMAN)
    asyncio.run(shared.flush())
    assert shared.spool is not None
    for file in shared.spool.folder.iterdir():
        assert b"193.99" not in file.read_bytes()
        assert file.stat().st_mode & 0o777 == 0o640


def test_a_day_ends_and_budgets_begin_anew(shared: Redirector) -> None:
    get(shared, "/demo/a.deb", GERMAN)
    shared.set_time(NOW + 86_400)
    assert shared.redirects.spent == {}
    get(shared, "/demo/a.deb", GERMAN)
    asyncio.run(shared.flush())
    assert shared.spool is not None
    days = {head["day"]: lines for head, lines in batches(shared.spool.folder)}
    line = ["demo", "a.deb", "one", "DE", 1, SIZE]
    assert days == {DAY: [line], "2027-01-16": [line]}
    # A clock that goes back gives no donor's bytes away again.
    shared.set_time(NOW)
    assert (shared.counts.day, shared.redirects.spent) == (DAY, {"one": SIZE})
    shared.set_time(NOW + 86_400)
    assert shared.redirects.spent == {}


def test_what_was_spent_outlives_a_restart_of_the_same_day(shared: Redirector) -> None:
    get(shared, "/demo/a.deb", GERMAN)
    asyncio.run(shared.flush())
    assert shared.spool is not None
    again = Spool(shared.spool.folder)
    assert again.spent(DAY) == {"one": SIZE}
    assert again.spent("2027-01-16") == {}
    for rubbish in (
        b"",
        b"[]",
        b"{}",
        b'{"day": "2027-01-15", "spent": 5}',
        b"\xff",
        b"[" * 9999,
        HUGE,
    ):
        (again.folder / "spent.json").write_bytes(rubbish)
        assert again.spent(DAY) == {}


def test_a_spent_budget_goes_to_the_next_mirror(shared: Redirector) -> None:
    shared.redirects.spent["one"] = 100_000
    assert "//two." in get(shared, "/demo/a.deb", GERMAN)[1]["Location"]
    assert counted(shared) == [["demo", "a.deb", "two", "DE", 1, SIZE]]


def test_a_folder_s_list_names_no_mirror_whose_budget_is_spent(shared: Redirector) -> None:
    assert b"http://one." in get(shared, "/demo/?mirrorlist")[2]
    shared.redirects.spent["one"] = 100_000
    assert b"http://one." not in get(shared, "/demo/?mirrorlist")[2]
    said = json.loads(get(shared, "/demo/?mirrorlist", "Accept: application/json\r\n")[2])
    assert [one["mirror"] for one in said["mirrors"]] == ["two"]
    [other] = said["left_out"]
    assert other["code"] == "budget"
    assert other["reason"].endswith("0 B are free now")


def test_a_disk_that_takes_nothing_loses_no_counts_until_memory_is_full(
    shared: Redirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared.spool is not None

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(os, "fsync", full)
        get(shared, "/demo/a.deb", GERMAN)
        for _ in range(MOST_BATCHES + 2):
            asyncio.run(shared.flush())
            get(shared, "/demo/b.deb", GERMAN)
        assert batches(shared.spool.folder) == []
    asyncio.run(shared.flush())
    assert sorted(counted(shared)) == [
        ["demo", "a.deb", "one", "DE", 1, SIZE],
        ["demo", "b.deb", "one", "DE", MOST_BATCHES + 2, 7 * (MOST_BATCHES + 2)],
    ]
    assert shared.counts.lost == 0


def test_a_batch_that_is_written_twice_is_the_same_one(
    shared: Redirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared.spool is not None
    real, calls = os.fsync, [0]

    def once(handle: int) -> None:
        calls[0] += 1
        if calls[0] == 2:  # of the folder, when the file is there under its name
            raise OSError(5, "Input/output error")
        real(handle)

    monkeypatch.setattr(os, "fsync", once)
    get(shared, "/demo/a.deb", GERMAN)
    asyncio.run(shared.flush())
    [before] = shared.spool.folder.glob("*.counts")
    asyncio.run(shared.flush())
    assert list(shared.spool.folder.glob("*.counts")) == [before]
    assert counted(shared) == [["demo", "a.deb", "one", "DE", 1, SIZE]]


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_kill_at_any_step_leaves_whole_batches_or_none(shared: Redirector, step: int) -> None:
    """The steps: the file on disk, its name, the folder on disk, what was spent."""
    assert shared.spool is not None
    folder = shared.spool.folder
    get(shared, "/demo/a.deb", GERMAN)
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from commonfarm.redirector.counts import Spool\n"
        "step = int(sys.argv[2])\n"
        "def count(name, real=None):\n"
        "    global step\n"
        "    step -= 1\n"
        "    if step == 0:\n"
        "        os.kill(os.getpid(), 9)\n"
        "sys.addaudithook(lambda event, _: event in ('os.rename',) and count(event))\n"
        "real = os.fsync\n"
        "os.fsync = lambda handle: (count('fsync'), real(handle))\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "spool.write('a' * 32, b'{}\\n' * 10)\n"
        "spool.keep_spent('2027-01-15', {'one': 1000})\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder), str(step)], check=False)
    assert done.returncode == -9
    assert [file.read_bytes() for file in folder.glob("*.counts")] in ([], [b"{}\n" * 10])
    assert Spool(folder).spent(DAY) in ({}, {"one": SIZE})
    Spool(folder).clear_away()
    assert not list(folder.glob(".*"))


def test_memory_is_bounded_and_the_oldest_are_lost_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counts, "MOST_ENTRIES", 10)
    kept = Counts("2026-11-21")
    for number in range(10 * (MOST_BATCHES + 3) + 4):
        kept.add(b"demo/%d" % number, key_end("one", "DE"), 1, 1)
    assert len(kept.waiting) == MOST_BATCHES
    assert (kept.lost, len(kept.entries)) == (30, 4)
    assert next(iter(kept.waiting[0].entries)).startswith(b"demo/30\0")
    assert MOST_ENTRIES * MOST_BATCHES < 70_000


def test_a_spool_that_nobody_empties_is_not_filled(
    shared: Redirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared.spool is not None
    monkeypatch.setattr(state, "MANY_FILES", 2)
    monkeypatch.setattr(state, "MOST_FILES", 3)
    pauses = []
    for _ in range(6):
        get(shared, "/demo/a.deb", GERMAN)
        pauses.append(asyncio.run(shared.flush()))
    assert pauses == [5, 5, 300, 300, 300, 300]
    assert len(batches(shared.spool.folder)) == 3
    assert shared.counts.lost == 3


def test_a_spool_has_a_bounded_size(shared: Redirector, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shared.spool is not None
    monkeypatch.setattr(state, "MOST_BYTES", 300)
    for _ in range(6):
        get(shared, "/demo/a.deb", GERMAN)
        asyncio.run(shared.flush())
    assert len(batches(shared.spool.folder)) == 3, "each has somewhat over a hundred bytes"
    assert shared.counts.lost == 3


def test_counts_of_an_hour_without_a_hub_wait_in_few_files(
    shared: Redirector, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shared.spool is not None
    monkeypatch.setattr(os, "fsync", lambda _: None)

    for second in range(0, 3600, 5):
        get(shared, "/demo/a.deb", GERMAN)
        shared.clock = float(second)
        asyncio.run(shared.let_counts_leave())
    asyncio.run(shared.flush())
    found = batches(shared.spool.folder)
    assert len(found) == 517, "one in 5 seconds until there are 512, then one in 5 minutes"
    assert sum(row[4] for _, rows in found for row in rows) == 720
    assert shared.counts.lost == 0
    assert sum(file.stat().st_size for file in shared.spool.folder.iterdir()) < 2**17


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.binary(min_size=1, max_size=12).filter(lambda one: b"\0" not in one),
            st.sampled_from(["", "one", "zwei ü"]),
            st.sampled_from(["DE", "ZZ"]),
            st.integers(0, 1),
            st.integers(0, 2**40),
        ),
        max_size=30,
    )
)
def test_sums_arrive_as_they_were_counted(
    events: list[tuple[bytes, str, str, int, int]],
) -> None:
    kept, expected = Counts("2026-11-21"), Counter[tuple[Any, ...]]()
    for path, name, country, downloads, size in events:
        kept.add(b"demo/" + path, key_end(name, country), downloads, size)
        key = path.decode("utf-8", "surrogateescape"), name, country
        expected[(*key, "downloads")] += downloads
        expected[(*key, "bytes")] += size
    lines = b"".join(counts.lines_of(counts.Batch("x", "2026-11-21", kept.entries))).splitlines()
    found = Counter[tuple[Any, ...]]()
    for tree, path_text, name, country, downloads, size in map(json.loads, lines[1:]):
        assert tree == "demo"
        found[path_text, name, country, "downloads"] += downloads
        found[path_text, name, country, "bytes"] += size
    assert found == expected
    assert json.loads(lines[0]) == {"format": 1, "id": "x", "day": "2026-11-21"}


@given(st.binary(max_size=20), st.integers(0, 10**6))
def test_no_range_counts_more_than_the_file(text: bytes, size: int) -> None:
    downloads, length = length_of({b"range": b"bytes=" + text}, size)
    assert downloads in (0, 1)
    assert 0 <= length <= size


def test_our_own_bytes_are_counted_as_they_went_out(serving: Edge) -> None:
    for _ in range(2):
        assert serving.get("/demo/dists/stable/InRelease")[2] == b"now"
    serving.get("/demo/dists/stable/InRelease", "--range", "1-1")
    serving.get("/demo/pool/own.deb")  # which was published, and the map does not know it yet
    assert serving.get("/demo/pool/a.deb")[0] == 302
    assert serving.stop() == 0
    lines = [line for _, found in batches(serving.spool) for line in found]
    sums: Counter[tuple[str, ...]] = Counter()
    for tree, path, name, country, downloads, size in lines:
        assert (tree, country) == ("demo", "ZZ")
        sums[path, "ours" if not name else "theirs", "downloads"] += downloads
        sums[path, "ours" if not name else "theirs", "bytes"] += size
    assert sums == {
        ("dists/stable/InRelease", "ours", "downloads"): 2,
        ("dists/stable/InRelease", "ours", "bytes"): 7,
        ("pool/own.deb", "ours", "downloads"): 1,
        ("pool/own.deb", "ours", "bytes"): len(DEB),
        ("pool/a.deb", "theirs", "downloads"): 1,
        ("pool/a.deb", "theirs", "bytes"): len(DEB),
    }


def test_metrics_are_as_prometheus_reads_them_and_not_for_everybody(
    shared: Redirector, tmp_path: Path
) -> None:
    get(shared, "/demo/a.deb", GERMAN)
    get(shared, "/demo/none", GERMAN)
    get(shared, "/demo/a.deb.meta4")
    status, headers, body = get(shared, "/-/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    checked = subprocess.run(
        ["promtool", "check", "metrics"], input=body, capture_output=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    lines = body.decode().splitlines()
    assert 'commonfarm_redirector_requests_total{outcome="redirected"} 1' in lines
    assert 'commonfarm_redirector_requests_total{outcome="not-found"} 1' in lines
    assert f"commonfarm_redirector_redirected_bytes_total {SIZE}" in lines
    assert 'commonfarm_redirector_mirrors_up{tree="demo"} 2' in lines
    assert "commonfarm_redirector_map_generation 1" in lines
    assert get(shared, "/-/metrics", GERMAN)[0] == 403
    assert get(shared, "/-/metrics", peer="192.0.2.1")[0] == 403
    assert get(shared, "/-/metrics", "X-Forwarded-For: 127.0.0.1\r\n", peer="192.0.2.1")[0] == 403
    assert get(shared, "/-/health", peer="192.0.2.1")[0] == 200
    assert json.loads(get(shared, "/-/health")[2])["generation"] == 1
    assert get(shared, "/-/else")[0] == 404
    # A proxy on this machine that nobody named passes others on, so it is not this machine.
    direct = redirector(tmp_path, [mirror("one")], {"demo/a": file_of(b"a", 0)})
    assert get(direct, "/-/metrics")[0] == 200
    assert get(direct, "/-/metrics", GERMAN)[0] == 403
