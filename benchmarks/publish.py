"""Publishing: one package more in a repository of 20,000, beside reprepro and apt-ftparchive.

    python benchmarks/publish.py [--quick] [--json] [--profile FILE]

Tiny packages (below 1 KiB), so that it is the repository's work that is measured and not the
disk's. Ours is filled by builds of 500 packages each, in four revisions, into a PostgreSQL of its
own; it writes and signs provenance for each package and a manifest of the whole tree (which the
peers do not), signs the indexes and switches. reprepro is given all at once and signs its Release.
apt-ftparchive keeps a cache of what it has read, and writes Packages, its gzip and Release anew
each time, unsigned. `one more` is one package more in a repository that has them all, from the
finished .deb to what users see; three go before that are not counted, as the folder of the revision
before the last but one is brought forward and would have thousands to catch up with. Ours adds 100,
so that the slowest of them counts, too: each 64th packs its indexes anew. `memory` is the most that
ours took at once, the signer included.
"""

from __future__ import annotations

import cProfile
import io
import json
import os
import pwd
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

RUNS, RUNS_OURS, RUNS_OURS_QUICK, BEFORE = 5, 100, 20, 3
PACKAGES, PACKAGES_QUICK = 20_000, 500
IN_A_BUILD = 500
GOAL_MORE_SECONDS = 1.0


def main() -> None:
    """Measure and print."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    count = PACKAGES_QUICK if "--quick" in sys.argv else PACKAGES
    runs = RUNS_OURS_QUICK if "--quick" in sys.argv else RUNS_OURS
    home = Path(tempfile.mkdtemp(prefix="cf-publish-"))
    home.chmod(0o755)
    stop: list[Callable[[], object]] = []
    try:
        packages = make_packages(home / "debs", count + BEFORE + runs)
        ours_all, ours_more, worked = ours(home / "ours", packages, count, stop)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        peers = {
            name: measure(home / name, packages[: count + BEFORE + RUNS], count)
            for name, measure, tool in (
                ("reprepro", reprepro, "reprepro"),
                ("apt-ftparchive", ftparchive, "apt-ftparchive"),
            )
            if shutil.which(tool)
        }
        show(count, ours_all, ours_more, peers, worked, memory)
    finally:
        for one in reversed(stop):
            one()
        shutil.rmtree(home, ignore_errors=True)


def make_packages(folder: Path, count: int) -> list[Path]:
    """Make so many real packages with different names."""
    folder.mkdir(parents=True)
    made = []
    for number in range(count):
        control = (
            f"Package: tiny{number:05d}\nVersion: 1.0\nArchitecture: all\nSection: misc\n"
            "Priority: optional\nMaintainer: A <a@example.org>\nDescription: a tiny package\n"
        ).encode()
        members = {
            "debian-binary": b"2.0\n",
            "control.tar.gz": packed({"./control": control}),
            "data.tar.gz": packed({}),
        }
        out = folder / f"tiny{number:05d}_1.0_all.deb"
        with out.open("wb") as deb:
            deb.write(b"!<arch>\n")
            for name, data in members.items():
                deb.write(f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode())
                deb.write(data + b"\n" * (len(data) % 2))
        made.append(out)
    return made


def packed(files: dict[str, bytes]) -> bytes:
    """Return a tar.gz of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", compresslevel=1) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def ours(
    home: Path, packages: list[Path], count: int, stop: list[Callable[[], object]]
) -> tuple[float, list[float], list[float]]:
    """Return seconds for all packages, and for each one more, and CPU time of each of these."""
    from commonfarm.installation.postgres import EmbeddedPostgres
    from commonfarm.lib.config import Listen, default, dump

    home.mkdir()
    here = pwd.getpwuid(os.getuid()).pw_name
    config = default(
        "bench", home / "config.toml", home / "s", home / "run", Listen("127.0.0.1", 0, 0, 0, 0)
    )
    config.file.write_text(dump(config))
    for folder in (config.store, config.published, config.signer_socket.parent):
        folder.mkdir(parents=True)
    os.environ["COMMONFARM_CONFIG"] = str(config.file)
    os.environ["DJANGO_SETTINGS_MODULE"] = "commonfarm.web.settings"
    postgres = EmbeddedPostgres(
        data=home / "pg",
        socket_directory=Path(config.database.host),
        runs_as="nobody" if os.getuid() == 0 else None,
        peers={here: ["commonfarm"]},
    )
    postgres.prepare()
    server = postgres.start(home / "pg.log")
    stop.append(lambda: postgres.stop(server))
    postgres.create("commonfarm", "commonfarm")

    import logging

    import django
    from django.core.management import call_command

    logging.disable(logging.INFO)
    django.setup()
    call_command("migrate", verbosity=0)

    from commonfarm.archive import ports, publishing
    from commonfarm.archive.interface import NewArtifact, add_build
    from commonfarm.archive.signer.keys import Keys
    from commonfarm.archive.signer.process import Server
    from commonfarm.estate.interface import Project, ReleaseTree, Repository, Target
    from commonfarm.store.interface import put_all

    # A tree is published once a second at most: to wait for that is no work.
    publishing._wait_for_another_second = lambda _publication: None  # type: ignore[assignment]
    ports.vouch.fill(lambda _claims: {})
    ports.tree_published.fill(lambda _tree, _revision: None)
    keys = Keys(config)
    keys.prepare()
    signer = Server(config.signer_socket, keys)
    threading.Thread(target=signer.serve_forever, daemon=True).start()
    stop.append(signer.shutdown)
    tree = ReleaseTree.objects.create(name="main")
    repository = Repository.objects.create(
        name="demo", tree=tree, path="demo", valid_seconds=604800
    )
    target = Target.objects.create(name="t", suite="bookworm", architecture="amd64")
    project = Project.objects.create(name="demo", repository=repository)
    project.targets.add(target)

    def add(some: list[Path]) -> None:
        first = some[0].name
        stored = put_all([one.read_bytes() for one in some])
        new = [NewArtifact(one.name, blob.sha256) for one, blob in zip(some, stored, strict=True)]
        add_build(f"job:{first}", project, target, new, {"job": 1}, who="bench")

    profile = cProfile.Profile() if "--profile" in sys.argv else None
    began = time.perf_counter()
    quarter = -(-count // 4)
    for number in range(0, count, quarter):
        some = packages[number : min(number + quarter, count)]
        for begin in range(0, len(some), IN_A_BUILD):
            add(some[begin : begin + IN_A_BUILD])
        publishing.publish(tree)
    whole, more, worked = time.perf_counter() - began, [], []
    for number, one in enumerate(packages[count:]):
        if number < BEFORE:
            add([one])
            publishing.publish(tree)
            continue
        if profile is not None:
            profile.enable()
        began, cpu = time.perf_counter(), time.process_time()
        add([one])
        publishing.publish(tree)
        more.append(time.perf_counter() - began)
        worked.append(time.process_time() - cpu)
        if profile is not None:
            profile.disable()
    if profile is not None:
        profile.dump_stats(sys.argv[sys.argv.index("--profile") + 1])
    seen = config.published / "main"
    text = (seen / "demo/dists/bookworm/main/binary-amd64/Packages").read_text()
    assert text.count("Package: ") == len(packages)
    statement = json.loads((seen / "manifest/statement.json").read_bytes())
    assert statement["signatures"]
    return whole, more, worked


def reprepro(home: Path, packages: list[Path], count: int) -> tuple[float, list[float]]:
    """Return reprepro's seconds for all, and for each one more; signed by a key of its own."""
    (home / "conf").mkdir(parents=True)
    gnupg = home / "g"
    gnupg.mkdir(mode=0o700)
    environment = os.environ | {"GNUPGHOME": str(gnupg)}
    key = ["--passphrase", "", "--quick-generate-key", "bench", "ed25519", "sign", "never"]
    subprocess.run(["gpg", "--batch", "-q", *key], check=True, env=environment, capture_output=True)
    (home / "conf/distributions").write_text(
        "Codename: bookworm\nArchitectures: amd64\nComponents: main\nSignWith: yes\n"
    )

    def include(debs: list[Path]) -> float:
        began = time.perf_counter()
        subprocess.run(
            ["reprepro", "--silent", "-b", home, "includedeb", "bookworm", *debs],
            check=True,
            env=environment,
            capture_output=True,
        )
        return time.perf_counter() - began

    try:
        return include(packages[:count]), [include([one]) for one in packages[count:]][BEFORE:]
    finally:
        subprocess.run(["gpgconf", "--kill", "gpg-agent"], env=environment, check=False)


def ftparchive(home: Path, packages: list[Path], count: int) -> tuple[float, list[float]]:
    """Return apt-ftparchive's seconds for all, and for each one more."""
    pool = home / "pool"
    pool.mkdir(parents=True)

    def index(debs: list[Path]) -> float:
        began = time.perf_counter()
        for one in debs:
            shutil.copy(one, pool)
        text = subprocess.run(
            ["apt-ftparchive", "--db", "cache.db", "packages", "pool"],
            cwd=home,
            check=True,
            capture_output=True,
        ).stdout
        (home / "Packages").write_bytes(text)
        subprocess.run(["gzip", "-kf", home / "Packages"], check=True)
        subprocess.run(
            ["apt-ftparchive", "release", "."], cwd=home, check=True, capture_output=True
        )
        return time.perf_counter() - began

    return index(packages[:count]), [index([one]) for one in packages[count:]][BEFORE:]


def show(
    count: int,
    ours_all: float,
    ours_more: list[float],
    peers: dict[str, tuple[float, list[float]]],
    worked: list[float],
    memory: float,
) -> None:
    """Print one line per figure and peer, or one JSON object."""
    figures: dict[str, Any] = {}
    for peer in ("reprepro", "apt-ftparchive"):
        if peer not in peers:
            print(f"{peer} is missing: apt-get install reprepro apt-utils", file=sys.stderr)
        theirs_all, theirs_more = peers.get(peer, (None, None))
        for name, mine, theirs in (
            (f"{count} packages", [ours_all], [theirs_all] if theirs_all else None),
            (f"one more after {count}", ours_more, theirs_more),
        ):
            middle = statistics.median(mine)
            other = statistics.median(theirs) if theirs else None
            figures[f"{name}, beside {peer}"] = {
                "ours": middle,
                "peer": other,
                "ratio": middle / other if other else None,
                "unit": "s",
                "runs": len(mine),
                "min": min(mine),
                "max": max(mine),
                "goal": GOAL_MORE_SECONDS if "more" in name else None,
                "met": middle <= GOAL_MORE_SECONDS if "more" in name else None,
            }
    slowest = f"one more after {count}, the slowest of {len(ours_more)}"
    for name, values, unit in (
        (slowest, [max(ours_more)], "s"),
        (f"one more after {count}, CPU time without PostgreSQL", worked, "s"),
        ("memory", [memory], "MiB"),
    ):
        figures[name] = {
            "ours": statistics.median(values),
            "peer": None,
            "ratio": None,
            "unit": unit,
            "runs": len(values),
            "min": min(values),
            "max": max(values),
            "goal": GOAL_MORE_SECONDS if name == slowest else None,
            "met": values[0] <= GOAL_MORE_SECONDS if name == slowest else None,
        }
    if "--json" in sys.argv:
        print(json.dumps({"name": "publish", "figures": figures}))
        return
    print(f"Publishing tiny packages, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    for name, one in figures.items():
        peer = f"{one['peer']:.3f}" if one["peer"] is not None else "-"
        ratio = f"{one['ratio']:.1f}" if one["ratio"] is not None else "-"
        print(
            f"{name}: ours {one['ours']:.3f} {one['unit']} ({one['min']:.3f} to {one['max']:.3f},"
            f" {one['runs']} runs), peer {peer}, ratio {ratio}"
        )


if __name__ == "__main__":
    main()
