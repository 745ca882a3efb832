"""`mirror replay`: what a log says that mirrors would have carried. No hub, no address kept."""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st
from typer.testing import CliRunner

from commonfarm.lib.errors import BadInputError
from commonfarm.mirrors.cli import app
from commonfarm.mirrors.replaying import accesslog, imagined, replay
from commonfarm.mirrors.replaying.accesslog import parse
from commonfarm.mirrors.replaying.replay import Replay, Settings, Stays
from commonfarm.redirector.mirror_map import MirrorMap
from commonfarm.redirector.places import Places
from tests.redirector.world import file_of, mirror, public_pem, tree_of, write_map

GERMAN, AMERICAN = "193.99.144.80", "8.8.8.8"
AT = "21/Nov/2026:12:00:00 +0000"


def line(
    path: str = "/soas/image.iso",
    client: str = GERMAN,
    status: int = 200,
    size: int | str = 1_000_000,
    method: str = "GET",
    at: str = AT,
) -> bytes:
    return f'{client} - - [{at}] "{method} {path} HTTP/1.1" {status} {size} "-" "curl/8"\n'.encode()


# Lines ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '192.0.2.1 - - [21/Nov/2026:12:00:00 +0000] "GET /a%20b?x=1 HTTP/1.1" 200 5\n',
        '192.0.2.1 - - [21/Nov/2026:12:00:00 +0000] "GET /a%20b HTTP/1.1" 200 5 "-" "a \\"b\\""\n',
        'dl.x.org:443 192.0.2.1 - - [21/Nov/2026:12:00:00 +0000] "GET /a%20b HTTP/2.0" 200 5\n',
        '192.0.2.1 - anna b [21/Nov/2026:13:00:00 +0100] "GET /a%20b HTTP/1.0" 200 5 0.003\r\n',
        '192.0.2.1 - - [21/Nov/2026:04:30:00 -0730] "GET http://x.org/a%20b HTTP/1.1" 200 5',
    ],
)
def test_lines_of_apache_and_nginx(text: str) -> None:
    assert parse(text.encode()) == ("192.0.2.1", 1795262400.0, "GET", "/a b", 200, 5)


def test_what_a_line_may_hold_besides() -> None:
    assert parse(line(size="-")).size == 0  # type: ignore[union-attr]
    assert parse(line(client="2001:db8::1")).client == "2001:db8::1"  # type: ignore[union-attr]
    assert parse(line(client="host.example.org")).client == "host.example.org"  # type: ignore[union-attr]
    tls = b'1.2.3.4 - - [21/Nov/2026:12:00:00 +0000] "\\x16\\x03\\x01" 400 226 "-" "-"\n'
    assert (parse(tls).method, parse(tls).path) == ("", "")  # type: ignore[union-attr]
    assert parse(line("/\\xc3\\xa9")).path == "/é"  # type: ignore[union-attr]
    assert parse(line("/%ff")).path == "/\udcff"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x00\xff\n",
        b"[Sat Nov 21 12:00:00 2026] [error] File does not exist\n",
        line(at="32/Nov/2026:12:00:00 +0000"),
        line(at="21/Foo/2026:12:00:00 +0000"),
        line(at="21/Nov/2026:12:00:00 +9999"),
        line()[:60],
        b'"' * 5000 + b"\n",
    ],
)
def test_what_is_no_such_line(bad: bytes) -> None:
    assert parse(bad) is None


@given(st.binary(max_size=200))
@how(deadline=None)
def test_any_bytes_are_a_request_or_none(data: bytes) -> None:
    parse(data)
    parse(line("/x")[:50] + data)
    parse(line("/x").replace(b"/x", data))


# Files ---------------------------------------------------------------------------------------


def test_logs_are_read_packed_or_not_and_one_after_the_other(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"1\n2\n")
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(b"3\n") + gzip.compress(b"4"))
    (tmp_path / "c.log").write_bytes(b"")
    files = [tmp_path / "a.log", tmp_path / "b.log.gz", tmp_path / "c.log"]
    assert list(accesslog.read(files)) == [b"1\n", b"2\n", b"3\n", b"4"]


def test_a_line_without_end_is_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "a.log"
    file.write_bytes(b"x" * 500_000 + b"\n" + b"after\n" + b"y" * 100_000)
    assert list(accesslog.read([file])) == [b"", b"after\n", b""]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(random.Random(1).randbytes(10_000))[:-100])
    damaged = tmp_path / "damaged.gz"
    damaged.write_bytes(b"\x1f\x8b" + b"\x00" * 50)
    for file in (tmp_path / "none", tmp_path, cut, damaged):
        with pytest.raises(BadInputError, match="cannot be read"):
            list(accesslog.read([file]))


# Imagined mirrors ----------------------------------------------------------------------------

MIRRORS = """
mirrors:
  - {name: de, country: DE, https: https://de.example.org/pub, http: http://de.example.org/pub}
  - {name: us, country: US, http: http://us.example.org/pub, budget: 20 MB}
  - {name: soas, country: FR, http: http://fr.example.org/soas, subtree: soas, only_countries: [FR]}
"""


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    file = tmp_path / "mirrors.yaml"
    file.write_text(MIRRORS)
    return file


def test_mirrors_come_from_a_file(listed: Path, tmp_path: Path) -> None:
    the_map = imagined.load(listed, "files")
    assert [one.name for one in the_map.mirrors] == ["de", "us", "soas"]
    assert the_map.mirrors[1].budget_bytes == 20_000_000
    assert the_map.mirrors[0].https == "https://de.example.org/pub/"
    rows = [{"name": "x", "country": "DE", "http": "http://x.org/", "details": {"weight": 50}}]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    assert imagined.load(tmp_path / "list.json", "files").mirrors[0].weight == 50


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[]", "yaml: lists no mirror; write each mirror as - {name"),
        ("- {nme: x, country: DE}", "mirror 1.name: is missing; write each"),
        ("- x", "mirror 1: is no mirror"),
        ("mirrors: 5", "is no list of mirrors"),
        ("- {name: x, country: Germany, http: 'http://x/'}", "mirror x.country: .* mean DE"),
        ("- {name: x, country: DE}", "address"),
        ("- {name: x, country: DE, http: 'ftp://x/'}", "http"),
        ("- {name: x, country: DE, http: 'http://x/', budget: much}", "'much' is not a size"),
        ("- {name: x, country: DE, http: 'http://x/', prefixes: [x]}", "network"),
        ("- {name: x, country: DE, http: 'http://x/', weight: 0}", "weight"),
        ("a: [", "neither JSON nor YAML"),
        ("\x00", "neither JSON nor YAML"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "mirrors.yaml"
    file.write_text(text)
    with pytest.raises(BadInputError, match=why) as caught:
        imagined.load(file, "files")
    assert str(file) in str(caught.value)


# Replays -------------------------------------------------------------------------------------


def replayed(the_map: MirrorMap, *lines: bytes, **fields: Any) -> replay.Replayed:
    told: dict[str, Any] = {"tree": "files", "least": 4096, "all_held": True}
    return Replay(the_map, Settings(**(told | fields)), Places()).take(lines)


def test_what_mirrors_would_have_carried_and_what_stays(listed: Path) -> None:
    found = replayed(
        imagined.load(listed, "files"),
        line(),
        line(client=AMERICAN, size=4_000_000),
        line(status=206, size=100),
        line("/dists/s/Release", size=50_000),
        line("/small.txt", size=100),
        line("/activities/", size=9_000),
        line(status=404, size=300),
        line(status=304, size=0),
        line(method="HEAD", size=0),
        line(client="a.name.example.org"),
        b"rubbish\n",
    )
    assert (found.all.requests, found.odd) == (10, 1)
    assert (found.carried.requests, found.carried.size) == (3, 5_000_100)
    assert {name: one.size for name, one in found.mirrors.items()} == {
        "de": 1_000_100,
        "us": 4_000_000,
    }
    assert {why: one.requests for why, one in found.stays.items()} == {
        Stays.INDEX: 1,
        Stays.SMALL: 1,
        Stays.FOLDER: 1,
        Stays.FAILED: 1,
        Stays.NOT_SENT: 1,
        Stays.NO_GET: 1,
        Stays.NO_MIRROR: 1,
    }
    assert found.countries["US"].carried == 4_000_000
    assert found.files["files/soas/image.iso"].requests == 4
    sums = sum(one.size for one in found.stays.values()) + found.carried.size
    assert sums == found.all.size


def test_budgets_are_of_a_day(listed: Path) -> None:
    listed.write_text("- {name: us, country: US, http: 'http://us.org/', budget: 5 MB}")
    the_map = imagined.load(listed, "files")
    evening = [f"{day}/Nov/2026:23:50:00 +0000" for day in (20, 21)]
    lines = [line(size=3_000_000, at=at) for at in evening for _ in range(2)]
    found = replayed(the_map, *lines)
    assert found.carried.requests == 2
    assert found.stays[Stays.BUDGET].requests == 2


def test_https_is_never_downgraded(listed: Path) -> None:
    found = replayed(imagined.load(listed, "files"), line(client=AMERICAN), https=True)
    assert list(found.mirrors) == ["de"]


def test_only_what_lies_below_the_prefix_counts(listed: Path) -> None:
    the_map = imagined.load(listed, "files")
    found = replayed(the_map, line("/pub/x.iso"), line("/public.iso"), prefix="/pub/")
    assert list(found.files) == ["files/x.iso"]
    assert found.stays[Stays.ELSEWHERE].requests == 1


def test_a_mirror_of_a_folder_carries_no_more(listed: Path) -> None:
    listed.write_text("- {name: s, country: DE, http: 'http://s.org/', subtree: soas}")
    found = replayed(imagined.load(listed, "files"), line(), line("/other.iso"))
    assert (found.carried.requests, found.stays[Stays.NO_MIRROR].requests) == (1, 1)


def test_by_the_map_it_goes_by_what_mirrors_hold(tmp_path: Path) -> None:
    folder, public = _map(tmp_path)
    from commonfarm.redirector.mirror_map import load, read_key

    the_map = load(folder, read_key(public))
    found = replayed(
        the_map,
        line("/demo/a.iso"),
        line("/demo/latest/a.iso"),
        line("/demo/b.iso"),
        line("/demo/Release"),
        line("/demo/none"),
        line("/demo/new.iso"),
        tree="",
        all_held=False,
        least=0,
    )
    assert found.carried.requests == 3
    assert {why: one.requests for why, one in found.stays.items()} == {
        Stays.NO_MIRROR: 1,
        Stays.INDEX: 1,
        Stays.UNKNOWN: 1,
    }


def _map(folder: Path) -> tuple[Path, Path]:
    key = Ed25519PrivateKey.generate()
    files = {
        "demo/a.iso": file_of(b"x", 0),
        "demo/current/a.iso": file_of(b"x", 0),
        "demo/b.iso": file_of(b"x"),
        "demo/Release": file_of(b"x", 0, changes=True),
        "demo/new.iso": file_of(b"x", 0, mirrors_from=4_000_000_000),
    }
    trees = [tree_of(aliases={"latest": "current"})]
    write_map(folder / "map", key, [mirror("de")], files, trees=trees)
    (folder / "key").write_bytes(public_pem(key))
    return folder / "map", folder / "key"


def test_many_files_are_forgotten_from_the_least(
    listed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "MOST_FILES", 100)
    heavy = [line("/heavy.iso", size=10**9)]
    many = [line(f"/f{number}.iso", size=5000) for number in range(500)]
    found = replayed(imagined.load(listed, "files"), *heavy, *many, *heavy)
    assert found.forgotten
    assert len(found.files) <= 100
    assert found.files["files/heavy.iso"].requests == 2
    assert found.all.requests == 502


# The command ---------------------------------------------------------------------------------


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["mirror", "replay", *arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.output


@pytest.fixture
def log(tmp_path: Path) -> Path:
    file = tmp_path / "access.log.gz"
    lines = [line(), line(client=AMERICAN, size=4_000_000), line("/dists/s/Release", size=50_000)]
    file.write_bytes(gzip.compress(b"".join(lines) * 3 + line("/\x1b[31m", size=9000)))
    return file


def test_the_command_says_what_matters_first(log: Path, listed: Path) -> None:
    said = run(str(log), "--mirrors", str(listed)).splitlines()
    assert said[0].startswith("10 requests from 2026-11-21 12:00:00 UTC")
    assert said[1].startswith("Mirrors would have carried 14.3 MiB (99.0%)")
    assert said[2].startswith("We would have served 146.5 KiB (1.0%), and about")
    text = "\n".join(said)
    assert "indexes, which change in place" in text
    assert "United States" in text
    assert "\x1b" not in text


def test_no_address_is_told(log: Path, listed: Path) -> None:
    for told in (
        run(str(log), "--mirrors", str(listed), "--json"),
        run(str(log), "--mirrors", str(listed)),
    ):
        assert GERMAN not in told and AMERICAN not in told
    found = json.loads(run(str(log), "--mirrors", str(listed), "--json"))
    assert found["all"]["requests"] == 10
    assert found["carried"]["bytes"] + found["origin"]["bytes"] == found["all"]["bytes"]
    assert found["origin_part"] == pytest.approx(1 - found["carried_part"])


def test_by_the_map_in_force(tmp_path: Path) -> None:
    folder, key = _map(tmp_path)
    (tmp_path / "log").write_bytes(line("/a.iso") + line("/none.iso"))
    options = ["--map", str(folder), "--key", str(key), "--tree", "demo", "--json"]
    assert json.loads(run(str(tmp_path / "log"), *options))["carried_part"] == 0.5


def test_the_command_refuses_what_is_no_log(tmp_path: Path, listed: Path, log: Path) -> None:
    (tmp_path / "no.log").write_bytes(b"hello\n" * 10)
    with pytest.raises(BadInputError, match="no line of"):
        run(str(tmp_path / "no.log"), "--mirrors", str(listed))
    with pytest.raises(BadInputError, match="is not a size"):
        run(str(log), "--mirrors", str(listed), "--least", "little")
    with pytest.raises(BadInputError, match="cannot be used to find places"):
        run(str(log), "--mirrors", str(listed), "--places", str(listed))


def test_memory_does_not_grow_with_the_log(tmp_path: Path, listed: Path) -> None:
    """12,000 lines, each of another client and another file with a long name."""
    script = """
import resource, sys
from pathlib import Path
from commonfarm.mirrors.replaying import imagined, replay

replay.MOST_FILES, replay.MOST_CLIENTS, replay.MOST_RANKINGS = 500, 500, 200
one = replay.Replay(
    imagined.load(Path(sys.argv[1]), "files"), replay.Settings("files", all_held=True)
)
LINE = '%d.%d.%d.1 - - [21/Nov/2026:12:00:00 +0000] "GET /FILE%d HTTP/1.1" 200 9999'
LINE = LINE.replace("FILE", "f" * 900)

def take(first, end):
    numbers = range(first, end)
    one.take((LINE % (n % 200 + 1, n // 200 % 250, 1, n)).encode() for n in numbers)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = take(0, 3000)
print(take(3000, 12000) - before)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(listed)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 5_000, "KiB more after four times as many lines"
