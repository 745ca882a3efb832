"""What `mirror_map.py --database` measures: maps made from the tables, checked and signed by the
signer, and how soon a new file is redirected.

A PostgreSQL, a signer, a worker and a redirector of their own; one nginx stands for all mirrors and
has the same bytes for every path. All mirrors are probed each minute meanwhile, as always. A
release is rows alone, a new file and an index that changes in place: what publishing itself takes
is measured by `publish.py`.
"""

from __future__ import annotations

import gc
import hashlib
import http.client
import json
import logging
import os
import pwd
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.append(str(Path(__file__).resolve().parents[1]))

from benchmarks.redirecting import cpu_seconds, free_port

if TYPE_CHECKING:
    from commonfarm.estate.interface import ReleaseTree
    from commonfarm.lib.config import Config

SETS = 3000
CHANGING_EVERY = 1000
SERVED = b"x" * 1000
"""The bytes of every file, so that probes are answered well; their hashes are made up."""
INDEX = "dists/stable/InRelease"
ANSWER_SECONDS = 120.0
NGINX = """
daemon off; master_process off; pid {home}/pid; error_log {home}/error;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {home}/t; proxy_temp_path {home}/t;
  fastcgi_temp_path {home}/t; uwsgi_temp_path {home}/t; scgi_temp_path {home}/t;
  server {{ listen 127.0.0.1:{port}; root {home}; location / {{ rewrite ^ /served break; }} }}
}}
"""
FILES = """
INSERT INTO archive_treefile (tree_id, path, size, sha256, changes, since_revision)
SELECT {tree}, 'pool/main/l/lib' || i % 997 || '/libsomething' || i || '_1.2.3-4_amd64.deb',
 {size}, encode(sha256(i::text::bytea), 'hex'), i % {changing} = 0, 1
 FROM generate_series(1, {files}) i;
INSERT INTO archive_filehashes (sha256, size, sha1, md5, piece_bytes, pieces)
SELECT sha256, size, substr(decode(sha256, 'hex'), 1, 20), substr(decode(sha256, 'hex'), 1, 16),
 262144, decode(sha256 || sha256, 'hex') FROM archive_treefile;
ANALYZE;
"""


def measured(files: int, mirrors: int, changed: int, runs: int) -> list[dict[str, float]]:
    """Return the figures of each run."""
    home = Path(tempfile.mkdtemp(prefix="cf-map-"))
    home.chmod(0o755)
    with ExitStack() as stop:
        stop.callback(shutil.rmtree, home, ignore_errors=True)
        config = _configured(home)
        _start_database(config, home, stop)
        began = time.monotonic()
        port = stop.enter_context(_nginx(home))
        _fill(files, mirrors, f"http://127.0.0.1:{port}/")
        _say(f"{files:,} files on {mirrors} mirrors made in {time.monotonic() - began:.0f} s")
        signer = stop.enter_context(_running(config, "signer"))
        while not config.signer_socket.exists():
            time.sleep(0.05)
        found = []
        for number in range(runs):
            found.append(_maps(signer, changed))
            _say(f"run {number}: {found[-1]}")
        worker = stop.enter_context(_running(config, "worker"))
        ask = stop.enter_context(_redirector(config))
        _until(_worker_lives)
        for number, run in enumerate(found):
            before = cpu_seconds(worker)
            run |= _released(ask, mirrors)
            run["released_workers_cpu"] = cpu_seconds(worker) - before
            run["workers_memory"] = _peak_mib(worker)
            _say(f"release {number}: redirected after {run['redirected']:.1f} s")
    return found


def maps(signer: int, changed: int) -> dict[str, float]:
    """Write a full map and deltas upon it; return what was measured. In a process of its own."""
    _start_django()
    from django.conf import settings

    from commonfarm.mirrors.models import Holdings
    from commonfarm.mirrors.steps import mapping

    gc.freeze()  # as the worker does
    found: dict[str, float] = {}

    def timed(name: str, write: Callable[[datetime], object]) -> None:
        before, cpu, began = cpu_seconds(signer), time.process_time(), time.monotonic()
        write(datetime.now(UTC))
        found[name] = time.monotonic() - began
        found[f"{name}_cpu"] = time.process_time() - cpu
        found[f"{name}_signers_cpu"] = cpu_seconds(signer) - before

    (settings.COMMONFARM.mirror_map.parent / "current").unlink(missing_ok=True)
    timed("full_written", mapping.write_full_map)
    found["writers_memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["signers_memory"] = _peak_mib(signer)
    publish()
    timed("delta_of_one_written", mapping.write_map)
    row = Holdings.objects.order_by("pk")[0]
    before = bytes(row.bits)
    row.bits = bytes(one ^ 255 for one in before[: changed // 8]) + before[changed // 8 :]
    row.save()
    timed("delta_written", mapping.write_map)
    row.bits = before
    row.save()
    mapping._base = None  # as a process that was just started
    timed("first_delta_written", mapping.write_map)
    return found


def publish() -> str:
    """Make a revision with a new file, and return its path in the tree."""
    from django.db import transaction

    from commonfarm.archive.interface import Publication, PublicationState, TreeFile
    from commonfarm.estate.interface import ReleaseTree
    from commonfarm.mirrors.tasks import tree_published

    tree = ReleaseTree.objects.get()
    revision = Publication.objects.filter(tree=tree).latest("revision").revision + 1
    path = f"pool/new/file{revision}.deb"
    with transaction.atomic():
        old = TreeFile.objects.filter(tree=tree, path=INDEX, until_revision=None)
        old.update(until_revision=revision)
        for name in (path, INDEX):
            _file(tree, name, revision).save()
        now = datetime.now(UTC)
        Publication.objects.create(
            tree=tree, revision=revision, state=PublicationState.PUBLISHED, published_at=now
        )
        tree_published(tree, revision)
    return path


def _file(tree: ReleaseTree, path: str, revision: int) -> Any:
    from commonfarm.archive.interface import TreeFile

    return TreeFile(
        tree=tree, path=path, size=len(SERVED), sha256=hashlib.sha256(SERVED).hexdigest(),
        changes=path == INDEX, since_revision=revision,
    )  # fmt: skip


def _maps(signer: int, changed: int) -> dict[str, float]:
    command = [sys.executable, __file__, str(signer), str(changed)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE)
    return dict(json.loads(done.stdout))


def _released(ask: Callable[[str], bool], mirrors: int) -> dict[str, float]:
    """Publish a file that all mirrors have; return after how many seconds it was redirected."""
    from commonfarm.archive.interface import Publication
    from commonfarm.mirrors.models import Arrival

    began = time.monotonic()
    path = publish()
    found = {"publish_committed": time.monotonic() - began}
    published = Publication.objects.latest("revision")
    assert published.published_at is not None
    _until(lambda: ask(path))
    found["redirected"] = (datetime.now(UTC) - published.published_at).total_seconds()
    arrivals = Arrival.objects.filter(revision=published.revision)
    _until(lambda: arrivals.count() == mirrors)
    seen = list(arrivals.order_by("seen_at").values_list("seen_at", flat=True))
    for name, at in (("first_checked", seen[0]), ("all_checked", seen[-1])):
        found[name] = (at - published.published_at).total_seconds()
    return found


def _worker_lives() -> bool:
    from commonfarm.guard.models import Heartbeat

    return Heartbeat.objects.filter(process="worker").exists()


def _until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + ANSWER_SECONDS
    while not done():
        if time.monotonic() > deadline:
            raise SystemExit(f"nothing happened in {ANSWER_SECONDS:.0f} seconds")
        time.sleep(0.02)


def _configured(home: Path) -> Config:
    from commonfarm.lib.config import Listen, default, dump

    listen = Listen("127.0.0.1", 0, 0, 0, 0)
    config = default("bench", home / "config.toml", home / "s", home / "run", listen)
    config.file.write_text(dump(config))
    for folder in (config.published, config.mirror_map.parent, config.counts):
        folder.mkdir(parents=True)
    config.signer_socket.parent.mkdir(parents=True)
    os.environ["COMMONFARM_CONFIG"] = str(config.file)
    return config


def _start_database(config: Config, home: Path, stop: ExitStack) -> None:
    from commonfarm.installation.postgres import EmbeddedPostgres

    owner, reader = config.database.user, config.database.signer_user
    postgres = EmbeddedPostgres(
        data=home / "pg",
        socket_directory=Path(config.database.host),
        runs_as="nobody" if os.getuid() == 0 else None,
        peers={pwd.getpwuid(os.getuid()).pw_name: [owner, reader]},
    )
    postgres.prepare()
    server = postgres.start(home / "pg.log")
    stop.callback(lambda: postgres.stop(server))
    postgres.create(config.database.name, owner, (reader,))
    _start_django()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _start_django() -> None:
    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "commonfarm.web.settings"
    logging.disable(logging.INFO)
    django.setup()


def _fill(files: int, mirrors: int, url: str) -> None:
    import numpy as np
    from django.db import connection

    from commonfarm.archive.interface import Publication, PublicationState, TreeFile
    from commonfarm.estate.interface import ReleaseTree
    from commonfarm.mirrors.bitmaps import Bitmap
    from commonfarm.mirrors.models import Audit, Holdings, Mirror, Scan, ScanKind

    now = datetime.now(UTC)
    tree = ReleaseTree.objects.create(name="demo")
    with connection.cursor() as cursor:
        values = {"tree": tree.pk, "size": len(SERVED), "files": files}
        cursor.execute(FILES.format(**values, changing=CHANGING_EVERY))
    _file(tree, INDEX, 1).save()
    Publication.objects.create(
        tree=tree,
        revision=1,
        state=PublicationState.PUBLISHED,
        published_at=now - timedelta(days=1),
    )
    numbers = np.fromiter(TreeFile.objects.order_by("pk").values_list("pk", flat=True), np.int64)
    dice = np.random.default_rng(1)
    sets = dice.integers(SETS, size=len(numbers))
    for number in range(mirrors):
        mirror = Mirror.objects.create(
            name=f"mirror{number}", tree=tree, http=f"{url}{number}/", country="DE", local=True,
            proved_at=now - timedelta(days=2), probed_at=now, answers=1, added_by="bench",
        )  # fmt: skip
        held = Bitmap.of(numbers[(dice.random(SETS) < 0.75)[sets]])
        Holdings.objects.create(mirror=mirror, first=held.first, bits=held.packed, seen_at=now)
        Scan.objects.create(  # one that took long: the next is not due before this is over
            mirror=mirror, kind=ScanKind.RSYNC, ok=True, revision=1, finished_at=now,
            started_at=now - timedelta(hours=1), files_found=files, files_expected=files,
        )  # fmt: skip
        Audit.objects.bulk_create(
            Audit(mirror=mirror, at=now, pieces=1, ok=True) for _ in range(10)
        )


@contextmanager
def _running(config: Config, name: str) -> Iterator[int]:
    command = [sys.executable, "-m", "commonfarm.cli.main", name]
    environment = os.environ | {"MALLOC_ARENA_MAX": "2"}  # as `up` starts the worker
    with (
        (config.state / f"{name}.log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
    ):
        try:
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def _nginx(home: Path) -> Iterator[int]:
    program, port = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin"), free_port()
    if program is None:
        raise SystemExit("nginx is not installed: apt-get install nginx-light")
    (home / "served").write_bytes(SERVED)
    (home / "conf").write_text(NGINX.format(home=home, port=port))
    with subprocess.Popen(
        [program, "-e", str(home / "error"), "-c", str(home / "conf")]
    ) as process:
        try:
            yield port
        finally:
            process.terminate()


@contextmanager
def _redirector(config: Config) -> Iterator[Callable[[str], bool]]:
    """Run a redirector; give what asks it whether a path is redirected."""
    port = free_port()
    command = [
        *(sys.executable, "-m", "commonfarm.redirector", "--port", str(port)),
        *("--published", str(config.published), "--spool", str(config.counts)),
        *("--mirror-map", str(config.mirror_map.parent)),
        *("--public-key", str(config.public_keys / "statements.pub")),
    ]

    def ask(path: str) -> bool:
        asked = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            asked.request("GET", f"/demo/{path}")
            return asked.getresponse().status == http.HTTPStatus.FOUND
        except OSError:
            return False
        finally:
            asked.close()

    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            _until(lambda: ask("pool/main/l/lib1/libsomething1_1.2.3-4_amd64.deb"))
            yield ask
        finally:
            process.terminate()


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"^VmHWM:\s+(\d+)", status, re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(json.dumps(maps(int(sys.argv[1]), int(sys.argv[2]))))
