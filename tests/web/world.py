"""Rows of every room, as many as wanted, for pages and streams to show."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db import transaction
from django.utils import timezone

from commonfarm.archive.models import (
    Publication,
    PublicationState,
    Release,
    ReleaseFile,
    ReleaseState,
    TreeFile,
)
from commonfarm.estate.answers import forecast
from commonfarm.estate.disclosure import veiled
from commonfarm.estate.facts import Facts
from commonfarm.estate.kept import to_json
from commonfarm.estate.models import (
    Answer,
    Following,
    Load,
    LoadedFile,
    Pool,
    Project,
    ReleaseTree,
    Repository,
    Target,
)
from commonfarm.farm.models import Build, Job, JobState, Lease, Source
from commonfarm.fleet.models import Builder
from commonfarm.journal.interface import Event, record
from commonfarm.lib.errors import Problem
from commonfarm.mirrors.models import (
    Arrival,
    Audit,
    FileCount,
    Holdings,
    HostKey,
    Mirror,
    MirrorCount,
    Probe,
    Scan,
)
from commonfarm.store.interface import put_bytes
from commonfarm.store.models import Blob
from tests.estate import pictured
from tests.estate.pictured import HOSTILE

LOGO = (
    b"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 90 30'><rect width='90' height='30'"
    b" fill='#124191'/><script>alert(1)</script></svg>"
)


@dataclass(frozen=True, slots=True)
class Happened(Event):
    """An event that means nothing."""

    what: ClassVar[str] = "tested"


def builder(name: str = "local", seen: timedelta = timedelta(seconds=5)) -> Builder:
    """Return a builder that was seen so long ago, made when it is not there."""
    now = timezone.now()
    pool, _ = Pool.objects.get_or_create(name="local", defaults={"architecture": "amd64"})
    return Builder.objects.get_or_create(
        name=name,
        defaults={
            "pool": pool,
            "generation": 1,
            "credential_digest": f"digest-{name}",
            "architecture": "amd64",
            "cores": 2,
            "memory_bytes": 4 << 30,
            "disk_bytes": 20 << 30,
            "enrolled_at": now,
            "last_seen_at": now - seen,
        },
    )[0]


def job(state: JobState = JobState.WAITING, name: str = "hello", version: str = "2.10-3") -> Job:
    """Return a job in this state, of a build of its own."""
    now = timezone.now()
    target, _ = Target.objects.get_or_create(
        name="bookworm-amd64",
        defaults={"declared_suite": "host", "suite": "bookworm", "architecture": "amd64"},
    )
    project, _ = Project.objects.get_or_create(name="demo")
    project.targets.add(target)
    digest = f"{Source.objects.count():064x}"
    blob, _ = Blob.objects.get_or_create(sha256=digest, defaults={"size": 1000})
    source = Source.objects.create(name=name, version=version, dsc=blob)
    build = Build.objects.create(source=source, project=project, submitted_by="user:anna")
    ended = state in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
    return Job.objects.create(
        build=build,
        target=target,
        state=state,
        attempts=0 if state == JobState.WAITING else 1,
        state_reason="dpkg-buildpackage ended with 2" if state == JobState.FAILED else "",
        ended_at=now if ended else None,
    )


def running_lease(name: str = "hello") -> Lease:
    """Return the lease of a job that runs now."""
    return _lease(job(JobState.LEASED, name), builder(), timezone.now())


def _lease(held: Job, by: Builder, now: datetime) -> Lease:
    return Lease.objects.create(
        job=held,
        builder=by,
        generation=1,
        epoch=1,
        given_at=now,
        deadline_at=now + timedelta(seconds=60),
    )


def fill(rows: int) -> None:
    """Make a world with about so many of everything; none with 0."""
    if not rows:
        return
    now = timezone.now()
    states = list(JobState)
    names = ("hello", "bc", "zlib", "sugar-toolkit-gtk3-long-name-of-a-source", "mer-core")
    for number in range(rows):
        state = states[number % len(states)] if number else JobState.LEASED
        made = job(state, names[number % len(names)], f"{number}.10+dfsg~rc{number}-3")
        if state == JobState.LEASED and Lease.objects.filter(ended_at=None).count() < 20:
            _lease(made, builder(f"b{number}"), now)
        builder(f"b{number}", timedelta(seconds=5 if number % 3 else 5000))
    _trees(rows)
    loaded(pictured.estate(rows))
    if rows > 1:
        refuse_a_commit()
    with transaction.atomic():
        for number in range(rows):
            record(Happened(f"test:{number}"), who="user:anna", why="to see" if number % 2 else "")


def addresses() -> tuple[str, ...]:
    """Return the addresses of one page of each kind, of what there is."""
    found: list[tuple[Any, str]] = [
        (Build, "/builds/{0.pk}"),
        (Job, "/jobs/{0.pk}"),
        (Builder, "/builders/{0.name}"),
        (Repository, "/repositories/{0.name}"),
        (ReleaseTree, "/trees/{0.name}"),
        (TreeFile, "/trees/first/files?below=activities"),
        (Release, "/trees/first/releases/{0.number}"),
        (Mirror, "/mirrors/{0.name}"),
        (Mirror, "/mirrors/mirror0/edit"),
        (Mirror, "/mirrors/explain/?path=first/x&country=DE"),
        (Load, "/estate/hosts/host-001"),
        (Load, "/estate/services/bugs"),
    ]
    firsts = [(model.objects.order_by("pk").first(), address) for model, address in found]
    return tuple(address.format(first) for first, address in firsts if first is not None)


@transaction.atomic
def refuse_a_commit() -> None:
    """Have the branch that is followed go on with a commit that has a fault."""
    now = timezone.now()
    followed = Following.objects.get()
    followed.was_fetched(now)
    problem = Problem("hosts.yaml", 3, 5, "unknown key `memry`", "did you mean `memory`?")
    followed.refuse("c" * 40, "Break it", [problem], now, who="process:worker")


@transaction.atomic
def loaded(facts: Facts, logo: bytes = LOGO) -> Load:
    """Return an estate as it is after a commit was loaded and the worker has answered."""
    now = timezone.now()
    name = "a" * 40
    load = Load.objects.create(
        who="process:worker",
        origin="https://git.example.org/estate (main)",
        digest="0" * 64,
        facts=to_json(facts),
        commit=name,
        author="Anna",
        title=f"Lend two more hosts {HOSTILE}",
        committed_at=now - timedelta(hours=3),
        changes=[f"host host-{number:03}: memory is 64 GiB, was 32 GiB" for number in range(12)],
        passed=[{"id": "b" * 40, "author": "Ben", "at": now.isoformat(), "subject": "Mend it"}],
    )
    LoadedFile.objects.create(load=load, name="nokia.svg", blob=put_bytes(logo))
    seen = veiled(facts)
    Answer.objects.create(
        kind="plan", load=load, as_of=now.date(), document=pictured.plan_of(seen).to_json()
    )
    ahead = forecast.document(forecast.forecast(seen, pictured.TODAY), curves=True)
    Answer.objects.create(kind="forecast", load=load, as_of=now.date(), document=json.dumps(ahead))
    for kind, document in (
        ("cliffs", pictured.cliffs_of(seen)),
        ("wanted", pictured.wanted_of(seen)),
    ):
        Answer.objects.create(kind=kind, load=load, as_of=now.date(), document=json.dumps(document))
    Following.start("https://git.example.org/estate", "main", "", who="user:anna", now=now)
    return load


def _trees(rows: int) -> None:
    now = timezone.now()
    tree = ReleaseTree.objects.create(name="first")
    for number in range(min(rows, 40)):
        Repository.objects.create(
            name=f"repo{number}" if number else "demo",
            tree=tree,
            path=f"repo{number}" if number else "demo",
            valid_seconds=7 * 86400,
        )
    Publication.objects.create(
        tree=tree,
        revision=1,
        state=PublicationState.PUBLISHED,
        published_at=now - timedelta(hours=1),
    )
    blob = put_bytes(b"turtle")
    for number, state in enumerate(ReleaseState, 1):
        release = Release.objects.create(
            tree=tree,
            number=number,
            title=f"Sugar {HOSTILE}",
            state=state,
            put_by="user:anna",
            visible_from=now + timedelta(days=1) if state == ReleaseState.EMBARGOED else None,
        )
        ReleaseFile.objects.bulk_create(
            ReleaseFile(release=release, path=f"{'a-long-name-' * 15}/{file}.html", blob=blob)
            for file in range(rows)
        )
    _mirrors(tree, rows, now)


def _mirrors(tree: ReleaseTree, rows: int, now: datetime) -> None:
    """Make mirrors in every state, what was seen there, and what they carried."""
    day = timedelta(days=1)
    files = [
        TreeFile(
            tree=tree,
            path=f"activities/{number}/a-rather-long-name-of-an-activity-{number}.xo",
            size=1_000_000 * (number + 1),
            sha256=f"{number:064x}",
            since_revision=1,
        )
        for number in range(rows)
    ]
    TreeFile.objects.bulk_create(files)
    numbers = [file.pk for file in files]
    states: list[dict[str, Any]] = [
        {},
        {"answers": 0, "probe_problem": f"a page of HTML answers for a file {HOSTILE}"},
        {"proved_at": None, "proof_problem": "https://x/commonfarm-mirror.txt: it answers 404"},
        {"quarantine": "piece 3 of a.xo differs", "quarantined_at": now},
        {"enabled": False},
        *({} for _ in range(15)),
    ]
    countries = ("DE", "US", "BR", "JP", "ZA", "AU", "IN", "KE")
    logo = put_bytes(LOGO)
    fields = {"proved_at": now - day, "answers": 13, "probed_at": now, "token": "cf_mirror_x"}
    mirrors = Mirror.objects.bulk_create(
        Mirror(
            name=f"mirror{number}",
            tree=tree,
            https=f"https://mirror{number}.example.org/pub/first/",
            http=f"http://mirror{number}.example.org/pub/first/",
            rsync_url=f"rsync://mirror{number}.example.org/first/" if number % 2 else "",
            country=countries[number % len(countries)],
            sponsor=f"University {number} {HOSTILE}" if number % 3 else "",
            sponsor_url="https://example.org/" if number % 2 else "",
            logo=logo if number % 5 == 0 else None,
            budget_bytes=500 * 10**9 if number % 2 else 0,
            push="" if number % 5 else "ssh",
            push_to="" if number % 5 else f"ssh://mirror@mirror{number}.example.org",
            added_by="user:anna",
            **(fields | states[number % len(states)]),
        )
        for number in range(rows)
    )
    scans, holdings, counts = [], [], []
    for number, mirror in enumerate(mirrors):
        held = numbers[: rows - number % 7]
        scans.append(
            Scan(
                mirror=mirror,
                kind="rsync",
                url=mirror.https,
                revision=1,
                started_at=now,
                finished_at=now,
                ok=number % 9 != 8,
                problem="" if number % 9 != 8 else "connection refused",
                files_expected=rows,
                files_found=len(held),
                missing=[file.path for file in files[len(held) :]],
            )
        )
        bits = bytearray(-(-rows // 8))
        for one in held:
            bits[(one - numbers[0]) // 8] |= 1 << (one - numbers[0]) % 8
        holdings.append(Holdings(mirror=mirror, first=numbers[0], bits=bytes(bits), seen_at=now))
        counts += [
            MirrorCount(
                day=(now - back * day).date(),
                tree=tree.name,
                mirror=mirror.name if number else "",
                country=countries[number % len(countries)],
                downloads=100 + number,
                size=10**9 * (number + 1),
            )
            for back in range(1 if number else 30)
        ]
    HostKey.of(mirrors[0]).was_offered("ssh-ed25519 AAAA", f"SHA256:{'a' * 43}")
    Scan.objects.bulk_create(scans)
    Holdings.objects.bulk_create(holdings)
    MirrorCount.objects.bulk_create(counts)
    Probe.objects.bulk_create(
        Probe(mirror=mirror, at=now, answers=13, problems={"http6": "no route"})
        for mirror in mirrors
    )
    Audit.objects.bulk_create(
        Audit(mirror=mirror, at=now, pieces=8, ok=number % 20 != 3)
        for number, mirror in enumerate(mirrors)
    )
    Arrival.objects.bulk_create(
        Arrival(mirror=mirror, revision=1, seen_at=now - timedelta(minutes=59 - number % 50))
        for number, mirror in enumerate(mirrors)
        if number % 4
    )
    FileCount.objects.bulk_create(
        FileCount(day=now.date(), tree=tree.name, path=file.path, downloads=7, size=file.size)
        for file in files
    )
