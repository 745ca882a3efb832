"""Counting room: how many further standard instances fit on a cluster, beside Ganeti's hspace.

    python benchmarks/ganeti.py [FOLDER] [--json]

Each `.data` file of FOLDER is imported as `commonfarm estate import ganeti` does, read as any
estate is, and counted exactly: of one size as many fit as fit on each node. hspace (Debian's
ganeti-htools) counts the same standard instance with a plain disk, without capacity checks: its
count is greedy, ours may not be less. Without a folder clusters are made, always the same.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "src"))

from commonfarm.estate.facts import Facts
from commonfarm.estate.folder import read_facts
from commonfarm.estate.imports.draft import as_yaml
from commonfarm.estate.imports.ganeti import SPINDLES, STANDARD, read
from commonfarm.estate.resources import resource

CLASSES = ("cores", "memory", "disk", SPINDLES)
MADE = 8


def main() -> int:
    """Count for each cluster, print, and end by 1 where hspace finds more."""
    parser = argparse.ArgumentParser(description="Counts what fits on Ganeti's clusters.")
    parser.add_argument("folder", nargs="?", type=Path, help="has the `.data` files")
    parser.add_argument("--json", action="store_true", help="print JSON")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cf-ganeti-") as home:
        folder = asked.folder or Path(home)
        if asked.folder is None:
            for seed in range(MADE):
                (folder / f"made-{seed}.data").write_text(made_cluster(seed))
        figures = {}
        for file in sorted(folder.glob("*.data")):
            ours, peer = counted(file, Path(home) / file.stem), hspace(file)
            figures[file.name] = {"ours": ours, "peer": peer, "unit": "instances"}
            figures[file.name]["met"] = ours >= peer
    if asked.json:
        print(json.dumps({"name": "ganeti", **figures}, indent=2))
    else:
        for name, one in figures.items():
            print(f"{name}: ours {one['ours']}, hspace {one['peer']}")
    return 0 if figures and all(one["met"] for one in figures.values()) else 1


def counted(file: Path, folder: Path) -> int:
    """Import a cluster and return how many more of its standard instance fit."""
    draft = read(file.name, file.read_bytes())
    folder.mkdir()
    (folder / "cluster.yaml").write_text(as_yaml(draft))
    sizes = {size["name"]: size for size in draft.sizes}
    if STANDARD not in sizes:
        return 0
    size = {
        key: resource(key).parse(str(sizes[STANDARD][key]), up=True)
        for key in CLASSES
        if key in sizes[STANDARD]
    }
    return fitting(read_facts(folder), size)


def free(facts: Facts, host: str) -> dict[str, int]:
    """Return what is left on a host for further instances."""
    one = facts.hosts[host]
    left = {key: one.room(key) or 0 for key in CLASSES}
    for instance in facts.instances.values():
        if instance.on == host:
            for key, amount in one.takes(instance.requirement.at("likely")).items():
                left[key] -= amount
    return left


def fitting(facts: Facts, size: Mapping[str, int]) -> int:
    """Return how many further instances of one size fit, without a thought of failures."""
    return sum(
        max(0, min(left[key] // amount for key, amount in size.items() if amount))
        for left in (free(facts, host) for host in facts.hosts)
    )


def hspace(file: Path) -> int:
    """Return how many hspace finds."""
    command = ["hspace", "-t", str(file), "--no-capacity-checks", "--machine-readable"]
    command += ["--disk-template", "plain", "--accept-existing-errors"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.search(r"HTS_ALLOC_INSTANCES=(\d+)", done.stdout)
    if found is None:
        sys.exit(f"hspace cannot count {file}: {done.stdout[-300:]}{done.stderr[-300:]}")
    return int(found[1])


def made_cluster(seed: int) -> str:
    """Return a cluster of one group whose nodes have room, plain and mirrored instances on them."""
    choose = random.Random(seed)  # noqa: S311 - the same each time is what is wanted
    names = [f"node-{number}" for number in range(choose.randint(2, 6))]
    instances = list(_instances(choose, names))
    nodes = []
    for name in names:
        own, lost = choose.choice([512, 1024, 4096]), choose.choice([0, 0, 300])
        memory = choose.choice([24, 32, 64]) * 1024
        disk = choose.choice([512, 1024]) * 1024
        used = sum(one[0] for one in instances if one[3] == name)
        on_disk = sum(one[1] for one in instances if name in one[3:5])
        free_memory, free_disk = memory - own - lost - used, disk - on_disk - lost
        cores, vcpus = choose.choice([4, 8, 16]), choose.randint(1, 3)
        nodes.append(
            f"{name}|{memory}|{own}|{free_memory}|{disk}|{free_disk}|{cores}|N|uuid|"
            f"{choose.randint(1, 4)}||N|0|{vcpus}|1.0"
        )
    rows = [
        f"i-{number}|{memory}|{disk}|{cores}|running|Y|{node}|{other}|"
        f"{'drbd' if other else 'plain'}||1|-|N"
        for number, (memory, disk, cores, node, other) in enumerate(instances)
    ]
    ratio = choose.choice(["1.0", "2.0", "3.0", "4.0"])
    size = (
        f"{choose.choice([1024, 3000, 4000])},{choose.choice([1, 2])},{choose.choice([900, 9000])}"
    )
    policy = f"{size},1,1,1|128,1,128,1,1,1;8192,4,32768,16,8,12|plain,drbd|{ratio}|32.0"
    sections: tuple[list[str], ...]
    sections = (["east|uuid|preferred||"], nodes, rows, [], [f"|{policy}", f"east|{policy}"])
    return "\n".join("".join(f"{line}\n" for line in section) for section in sections)


def _instances(choose: random.Random, names: list[str]) -> Iterator[tuple[int, int, int, str, str]]:
    """Yield memory, disk, virtual cores, primary and secondary node."""
    for _ in range(choose.randint(1, 2 * len(names))):
        node = choose.choice(names)
        other = choose.choice(["", *(name for name in names if name != node)])
        memory, disk = choose.choice([512, 1000, 4096]), choose.choice([1024, 5000, 20480])
        yield memory, disk, choose.choice([1, 1, 2]), node, other


if __name__ == "__main__":
    sys.exit(main())
