"""The mirror map: how long a full one and a delta take to write and to load, and in what memory.

    python benchmarks/mirror_map.py [--quick] [--json] [--database]

A million files on 200 mirrors in 3,000 distinct sets, with SHA-256, sha1, md5 and piece hashes;
a delta of 50,000 of them. Writing is from columns to the signed file on disk, without the database
that the columns come from. Loading and lookups are a process of their own with nothing else in it:
its memory is Python's, cryptography's and the map's. No peer has such a file. With `--database`
other figures: the same from a PostgreSQL and signed by the signer (`mirror_map_database.py`).
"""

from __future__ import annotations

import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from commonfarm.redirector.mirror_map import (
    Answers,
    Hashes,
    Mirror,
    Tree,
    load,
    read_key,
    to_be_signed,
)

if TYPE_CHECKING:
    from commonfarm.redirector.mirror_map.writing import Columns, Head

RUNS = 5
LOOKUPS = 200_000
SETS = 3000
PIECE = 256 * 1024
COUNTRIES = ("DE", "FR", "US", "JP", "BR", "IN")


@dataclass(frozen=True)
class Size:
    """How large one case is."""

    files: int
    mirrors: int
    changed: int


FULL, QUICK = Size(1_000_000, 200, 50_000), Size(50_000, 50, 2_500)
GOALS = {
    "full_written": 60,
    "delta_written": 2,
    "delta_of_one_written": 2,
    "loaded": 1,
    "memory_after_lookups": 120,
    "redirected": 5,
}


def path(number: int) -> bytes:
    """Return the path of a file as long as those of a Debian pool are."""
    return b"demo/pool/main/l/lib%d/libsomething%d_1.2.3-4_amd64.deb" % (number % 997, number)


def further(sizes: list[int]) -> Iterator[Hashes]:
    """Yield what is known besides of files of these sizes."""
    for number, size in enumerate(sizes):
        digest = number.to_bytes(20, "big")
        pieces = tuple(digest + bytes(12) for _ in range(-(-size // PIECE)))
        yield Hashes(digest, digest[:16], PIECE, pieces, 1_700_000_000 + number)


def head(size: Size, generation: int) -> Head:
    """Return what a map of `size` says besides its files."""
    from commonfarm.redirector.mirror_map.writing import Head

    mirrors = [
        Mirror(
            name=f"mirror{number}",
            tree="demo",
            http=f"http://mirror{number}.example.org/pub/demo/",
            https=f"https://mirror{number}.example.org/pub/demo/",
            country=COUNTRIES[number % len(COUNTRIES)],
            latitude=50.0,
            longitude=10.0,
            as_number=64512 + number,
            answers=Answers(15),
        )
        for number in range(size.mirrors)
    ]
    return Head(generation, "2026-11-21T12:00:00+00:00", mirrors, [Tree("demo", 1, {}, {}, "")])


def columns(size: Size, numbers: range) -> tuple[Columns, float]:
    """Return columns of these files, and the seconds that joining the mirrors' columns took."""
    import numpy as np

    from commonfarm.redirector.mirror_map.writing import Columns, holdings

    dice = np.random.default_rng(numbers.step)
    count = len(numbers)
    which = dice.integers(SETS, size=count)
    bitmaps = [
        np.packbits((dice.random(SETS) < 0.75)[which], bitorder="little")
        for _ in range(size.mirrors)
    ]
    sizes = dice.integers(1, 3 * PIECE, size=count)
    begun = time.perf_counter()
    matrix = holdings(
        (np.unpackbits(one, count=count, bitorder="little").view(np.bool_) for one in bitmaps),
        count,
    )
    took = time.perf_counter() - begun
    return Columns(
        paths=[path(number) for number in numbers],
        sizes=sizes,
        sha256=np.frombuffer(dice.bytes(32 * count), np.uint8).reshape(-1, 32),
        rows=np.arange(count),
        flags=np.zeros(count, np.uint8),
        holdings=matrix,
        mirrors_from=np.where(np.arange(count) % 1000 == 0, 1_800_000_000, 0),
        hashes=further(sizes.tolist()),
    ), took


def write_both(home: Path, size: Size) -> dict[str, float]:
    """Write a full map and a delta below `home`; return what was measured."""
    from commonfarm.redirector.mirror_map.writing import build, build_delta, write

    key = Ed25519PrivateKey.generate()
    public = key.public_key()
    (home / "key").write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    given, joining = columns(size, range(size.files))
    cpu, begun = time.process_time(), time.perf_counter()
    payload = build(head(size, 1), given)
    write(home / "map", payload, key.sign(to_be_signed(payload.header)), public)
    found = {
        "full_written": time.perf_counter() - begun + joining,
        "full_written_cpu": time.process_time() - cpu + joining,
        "writers_memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }
    del payload, given
    changed, joining = columns(size, range(0, size.files, size.files // size.changed))
    base = load(home / "map", public)
    cpu, begun = time.process_time(), time.perf_counter()
    payload = build_delta(base, head(size, 2), changed)
    write(home / "map", payload, key.sign(to_be_signed(payload.header)), public)
    return found | {
        "delta_written": time.perf_counter() - begun + joining,
        "delta_written_cpu": time.process_time() - cpu + joining,
        "full_on_disk": (home / "map" / "current").stat().st_size / 2**20,
        "delta_on_disk": (home / "map" / "delta").stat().st_size / 2**20,
    }


def look_up(home: Path, size: Size) -> dict[str, float]:
    """Load the map below `home` and look up random files; return what was measured."""
    key, before = read_key(home / "key"), pss_mib()
    cpu, begun = time.process_time(), time.perf_counter()
    the_map = load(home / "map", key)
    found = {
        "loaded": time.perf_counter() - begun,
        "loaded_cpu": time.process_time() - cpu,
        "memory_before": before,
        "memory_loaded": pss_mib(),
    }
    assert the_map.generation == 2, the_map.delta_problem
    dice, locate = random.Random(3), the_map.locate  # noqa: S311 - test data
    seconds = 0.0
    for _ in range(LOOKUPS // 1000):
        paths = [path(dice.randrange(size.files)) for _ in range(1000)]
        cpu = time.process_time()
        for one in paths:
            locate(one)
        seconds += time.process_time() - cpu
        for one in paths:  # what an answer needs of a file
            part, index = locate(one) or sys.exit(f"{one!r} is not there")
            part.flags[index], part.sizes[index], part.sets[index], part.digest(index)
    return found | {
        "lookup": seconds / LOOKUPS * 1e6,
        "memory_after_lookups": pss_mib(),
    }


def pss_mib() -> float:
    """Return the memory of this process, shared pages by their share."""
    found = re.search(r"^Pss:\s+(\d+)", Path("/proc/self/smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


UNITS = {"memory": "MiB", "disk": "MiB", "lookup": "µs"}


def figure(name: str, values: list[float], size: Size) -> dict[str, Any]:
    """Return one figure as benchmarks report them; less is better where there is a goal."""
    ours, goal = statistics.median(values), GOALS.get(name) if size is FULL else None
    return {
        "ours": round(ours, 3), "peer": None, "ratio": None,
        "unit": next((unit for word, unit in UNITS.items() if word in name), "s"),
        "runs": len(values), "min": round(min(values), 3), "max": round(max(values), 3),
        "goal": goal, "met": None if goal is None else ours <= goal,
    }  # fmt: skip


def main(arguments: list[str]) -> int:
    """Measure and report."""
    size = QUICK if "--quick" in arguments else FULL
    if arguments[:1] in (["write"], ["read"]):
        measure = write_both if arguments[0] == "write" else look_up
        print(json.dumps(measure(Path(arguments[1]), size)))
        return 0
    from_tables = "--database" in arguments
    runs = from_database(size) if from_tables else from_columns(size)
    report: dict[str, Any] = {"name": "mirror_map_database" if from_tables else "mirror_map"}
    report |= {name: figure(name, [run[name] for run in runs], size) for name in runs[0]}
    if "--json" in arguments:
        print(json.dumps(report))
        return 0
    print(
        f"{size.files:,} files on {size.mirrors} mirrors, {size.changed:,} of them in a delta;"
        f" {len(runs)} runs, {os.cpu_count()} cores"
    )
    for name, one in report.items():
        if isinstance(one, dict):
            goal = f"  goal: at most {one['goal']}, met: {one['met']}" if one["goal"] else ""
            print(
                f"{name:<32} {one['ours']:>10} {one['unit']} ({one['min']} to {one['max']}){goal}"
            )
    return 0


def from_columns(size: Size) -> list[dict[str, float]]:
    """Return the figures of each run."""
    runs: list[dict[str, float]] = []
    options = ["--quick"] if size is QUICK else []
    for _ in range(RUNS):
        with tempfile.TemporaryDirectory(prefix="cf-bench-") as home:
            run: dict[str, float] = {}
            for part in ("write", "read"):
                command = [sys.executable, __file__, part, home, *options]
                run |= json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
            runs.append(run)
    return runs


def from_database(size: Size) -> list[dict[str, float]]:
    """Return the figures of each run."""
    sys.path.append(str(Path(__file__).resolve().parents[1]))
    from benchmarks.mirror_map_database import measured

    return measured(size.files, size.mirrors, size.changed, 1 if size is QUICK else RUNS)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
