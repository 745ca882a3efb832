"""A small farm in the tables: a target, a project, builders, sources, and a scheduler process."""

from __future__ import annotations

import json
import signal
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from commonfarm.agent.protocol import EnrolRequest, Facts, LeaseRequest
from commonfarm.estate.interface import Pool, Project, ReleaseTree, Repository, Target
from commonfarm.farm.models import Build, Job, Source, SourceFile
from commonfarm.farm.submission import submit
from commonfarm.fleet.interface import Builder, enrol, make_enrolment_token
from commonfarm.lib.config import Config, dump
from commonfarm.store.interface import put_bytes
from tests.farm import scheduler_process
from tests.forked import Forked

GIB = 2**30


def now() -> datetime:
    return datetime.now(UTC)


def make_target(keyring: Path, name: str = "bookworm-amd64", **fields: Any) -> Target:
    keyring.write_bytes(b"a keyring")
    values: dict[str, Any] = {
        "declared_suite": "bookworm",
        "suite": "bookworm",
        "components": ["main"],
        "architecture": "amd64",
        "package_sources": [
            {"uri": "http://deb.example.org/debian", "suite": "bookworm", "components": ["main"]}
        ],
        "keyring": str(keyring),
    }
    return Target.objects.create(name=name, **(values | fields))


def make_project(*targets: Target, name: str = "demo") -> Project:
    tree, _ = ReleaseTree.objects.get_or_create(name="tree")
    repository, _ = Repository.objects.get_or_create(
        name="demo", defaults={"tree": tree, "path": "demo", "valid_seconds": 7 * 86400}
    )
    project = Project.objects.create(name=name, repository=repository)
    project.targets.set(targets)
    return project


def make_source(name: str = "greeting", version: str = "1.0") -> Source:
    """Put a source into the tables whose files are in the store; their content is arbitrary."""
    dsc = put_bytes(f"{name} {version} dsc".encode())
    tarball = put_bytes(f"{name} {version} tarball".encode())
    source, made = Source.objects.get_or_create(
        dsc=dsc, defaults={"name": name, "version": version}
    )
    if made:
        SourceFile.objects.create(source=source, name=f"{name}_{version}.dsc", blob=dsc)
        SourceFile.objects.create(source=source, name=f"{name}_{version}.tar.xz", blob=tarball)
    return source


def make_job(project: Project, *, who: str = "user:anna", **needs: Any) -> Job:
    build = submit(make_source(), project, [*project.targets.all()], who=who, needs=needs)
    return Job.objects.get(build=build)


def facts(**changed: Any) -> Facts:
    base = Facts("amd64", 4, 8 * GIB, 100 * GIB, ["runc"], {"memory": "cgroup2"}, "0.1.0")
    return replace(base, **changed)


@dataclass(slots=True)
class Agent:
    """A builder's side of the protocol, as far as the scheduler is concerned."""

    name: str
    generation: int
    credential: str
    facts: Facts

    @classmethod
    def enrol(cls, name: str = "b1", **changed: Any) -> Agent:
        said = facts(**changed)
        pool, _ = Pool.objects.get_or_create(
            name=f"pool-{said.architecture}", defaults={"architecture": said.architecture}
        )
        token = make_enrolment_token(pool, who="user:anna", now=now()).reveal()
        enrolled = enrol(EnrolRequest(token, name, said), now())
        return cls(name, enrolled.generation, enrolled.credential, said)

    @property
    def row(self) -> Builder:
        return Builder.objects.get(name=self.name)

    def poll(self, port: int, wait: float = 0.0, **changed: Any) -> tuple[int, Any]:
        """Ask the scheduler at `port`; return the status and the body."""
        request = LeaseRequest(self.generation, self.facts, clean=True, wait_seconds=wait)
        body = json.dumps(asdict(replace(request, **changed))).encode()
        return post(f"http://127.0.0.1:{port}/lease", body, self.credential, wait + 20)


def post(url: str, body: bytes, credential: str, timeout: float = 20) -> tuple[int, Any]:
    request = urllib.request.Request(
        url, data=body, headers={"Authorization": f"Bearer {credential}"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            text = answer.read()
            return answer.status, json.loads(text) if text else None
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])


@dataclass(slots=True)
class SchedulerProcess:
    """A scheduler that really runs, on the test's database."""

    folder: Path
    port: int
    process: Forked | None = None

    def start(self, config: Config | None = None) -> SchedulerProcess:
        """Start it, by default on the database of the tests."""
        if config is None:
            config = settings.COMMONFARM
            database = replace(config.database, name=connection.settings_dict["NAME"])
            listen = replace(config.listen, scheduler=self.port)
            config = replace(config, database=database, listen=listen)
        file = self.folder / f"scheduler-{self.port}.toml"
        file.write_text(dump(config))
        log = self.folder / f"scheduler-{self.port}.log"
        self.process = Forked(scheduler_process.main, file, log)
        self.health()
        return self

    def health(self) -> dict[str, Any]:
        """Return what it says of itself, once it answers."""
        deadline = time.monotonic() + 30
        while True:
            try:
                url = f"http://127.0.0.1:{self.port}/health"
                with urllib.request.urlopen(url, timeout=5) as answer:
                    return dict(json.load(answer))
            except OSError:
                assert self.process is not None
                assert self.process.poll() is None, self.log()
                assert time.monotonic() < deadline, self.log()
                time.sleep(0.05)

    def until_active(self, seconds: float = 30) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while not (health := self.health())["active"]:
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return health

    def signal(self, number: int) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(20)

    def log(self) -> str:
        return (self.folder / f"scheduler-{self.port}.log").read_text()


@contextmanager
def scheduler(folder: Path) -> Iterator[SchedulerProcess]:
    """Run a scheduler while the block runs."""
    running = SchedulerProcess(folder, free_port()).start()
    try:
        yield running
    finally:
        if running.process is not None and running.process.poll() is None:
            running.signal(signal.SIGKILL)


def build_of(job: Job) -> Build:
    return Build.objects.get(pk=job.build_id)
