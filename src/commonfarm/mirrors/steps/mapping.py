"""The mirror map is brought up to date: by a delta upon the full map in force, or by a full one.

What lies in the folder is the truth about what was written: a map that was cut off before it was
put in place is made again. While a full one is made, deltas upon the old one go on.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from django.conf import settings
from django.db import transaction
from django.db.models import Max, Sum

from commonfarm.archive.interface import (
    Publication,
    PublicationState,
    aliases_of,
    sign_mirror_map,
)
from commonfarm.estate.interface import ReleaseTree
from commonfarm.guard.interface import alone
from commonfarm.journal.interface import record
from commonfarm.lib.config import Config
from commonfarm.mirrors import events, mapwriter
from commonfarm.mirrors.bitmaps import Bitmap
from commonfarm.mirrors.models import Holdings, MapWritten, Mirror, MirrorCount, Override, Scan
from commonfarm.redirector import mirror_map
from commonfarm.redirector.mirror_map import DELTA, FULL, MapError, load, mark_of, read_key
from commonfarm.redirector.mirror_map.layout import HEADER_AT
from commonfarm.redirector.mirror_map.reading import read_header
from commonfarm.redirector.mirror_map.source import FileSource
from commonfarm.redirector.mirror_map.writing import (
    Columns,
    Head,
    Payload,
    build,
    build_delta,
    install,
    stage,
)

WHO = "process:worker"
MAP_LOCK, FULL_LOCK = "mirror map", "full mirror map"
GENERATIONS = "numbering of mirror maps"
STALE_AFTER = timedelta(days=1)
"""A mirror whose scans fail for so long is sent nobody, whatever it was seen to have before."""

log = logging.getLogger(__name__)
_base: mapwriter.Base | None = None
"""The full map that deltas are made upon, as this process read it last."""


def write_map(now: datetime) -> bool:
    """Bring the map up to date; say whether a full one should follow soon.

    Writers wait for each other, so that what the last one saw is in the map. RefusedError or
    UnreachableError when the signer does not sign, OSError when there is no room: the map in force
    stays then.
    """
    with alone(MAP_LOCK, wait=True):
        base = _base_in_force()
        if base is not None:
            return _write_delta(base, now)
    return True


def write_full_map(now: datetime) -> int:
    """Write a full map and return its generation; errors as above, BusyError while another does."""
    with alone(FULL_LOCK, wait=False):
        MapWritten.objects.filter(base=0, digest="").delete()
        with alone(GENERATIONS, wait=True):
            generation = _next_generation()
            _take(generation, 0, now)
        facts = gather(now)
        content = mapwriter.full(facts)
        head = _head(generation, now, facts, content)
        payload = build(head, content.columns)
        staged = stage(_folder(), payload)
        signature = sign_mirror_map(generation, delta=False)
        with alone(MAP_LOCK, wait=True):
            install(staged, signature, _key())
            _finish(generation, payload, content, is_full=True)
            base = _base_in_force()
            if base is not None:
                _write_delta(base, now)
    return generation


def gather(now: datetime) -> mapwriter.Facts:
    """Return what the tables say now."""
    trees = [_tree(row, revision) for row, revision in _published()]
    names = {tree.entry.name for tree in trees}
    # Whoever has an account may register a mirror: before its proof nobody else hears of it.
    proved = Mirror.registered().exclude(proved_at=None).order_by("name")
    rows = [one for one in proved if one.tree.name in names]
    finished = Scan.objects.exclude(ok=None)
    last = {
        scan.mirror_id: scan for scan in finished.order_by("mirror_id", "-id").distinct("mirror_id")
    }
    well = dict(finished.filter(ok=True).values_list("mirror").annotate(Max("finished_at")))
    today = MirrorCount.objects.filter(day=now.astimezone(UTC).date()).exclude(mirror="")
    spent = dict(today.values_list("mirror").annotate(Sum("size")))
    entries = {}
    for row in rows:
        problem = why_not(row, last.get(row.pk), well.get(row.pk), spent.get(row.name, 0), now)
        entry = _entry(row, problem)
        if _fits(entry):
            entries[row.name] = entry
        else:
            log.error("mirror %s is left out: its entry fits into no map", row.name)
    held = Holdings.objects.filter(mirror__in=rows).select_related("mirror")
    return mapwriter.Facts(
        trees,
        entries,
        {one.mirror.name: Bitmap.unpacked(one.first, one.bits) for one in held},
        Override.in_map({row.pk for row in rows if row.name in entries}),
    )


def why_not(
    mirror: Mirror, last: Scan | None, well_at: datetime | None, spent: int, now: datetime
) -> str:
    """Return why nobody is sent to a mirror, nothing while it serves.

    `well_at` is when a scan of it last went well, `spent` are the bytes that it served today.
    """
    _, reason = mirror.standing(last)
    if reason is not None:
        return reason.text
    if last is not None and not last.ok and (well_at is None or well_at < now - STALE_AFTER):
        return f"it cannot be scanned: {last.problem}"
    if mirror.budget_bytes and spent >= mirror.budget_bytes:
        return "its budget of the day is used up"
    return ""


def _published() -> list[tuple[ReleaseTree, int]]:
    published = Publication.objects.filter(state=PublicationState.PUBLISHED)
    newest = dict(published.values_list("tree").annotate(Max("revision")))
    rows = ReleaseTree.objects.filter(pk__in=newest).order_by("name")
    return [(row, newest[row.pk]) for row in rows]


def _tree(row: ReleaseTree, revision: int) -> mapwriter.PublishedTree:
    entry = mirror_map.Tree(
        name=row.name,
        revision=revision,
        aliases=dict(aliases_of(row, revision).values_list("path", "target")),
        repositories=dict(sorted(row.rpm_repositories.items())),
        folder=row.adopts,
    )
    return mapwriter.PublishedTree(row, revision, entry)


def _entry(row: Mirror, problem: str) -> mirror_map.Mirror:
    return mirror_map.Mirror(
        name=row.name,
        tree=row.tree.name,
        subtree=row.subtree,
        http=row.http,
        https=row.https,
        country=row.country,
        latitude=row.latitude,
        longitude=row.longitude,
        as_number=row.as_number,
        prefixes=tuple(row.prefixes),
        only_countries=tuple(row.only_countries),
        only_networks=tuple(row.only_networks),
        answers=mirror_map.Answers(row.answers),
        weight=row.weight,
        budget_bytes=row.budget_bytes,
        local=row.local,
        sponsor=row.sponsor,
        problem=problem,
    )


@lru_cache(2000)
def _fits(entry: mirror_map.Mirror) -> bool:
    """Say whether readers take a map with this mirror: one odd row must not cost all the others."""
    head = Head(1, "2026-01-01T00:00:00+00:00", [entry], [mirror_map.Tree(entry.tree, 1, {}, {})])
    try:
        build(head, Columns.of({}, 1))
    except (MapError, ValueError):
        return False
    return True


def _head(
    generation: int, now: datetime, facts: mapwriter.Facts, content: mapwriter.Content
) -> Head:
    trees = [tree.entry for tree in facts.trees]
    written_at = now.isoformat(timespec="seconds")
    return Head(generation, written_at, content.mirrors, trees, facts.overrides)


def _write_delta(base: mapwriter.Base, now: datetime) -> bool:
    facts = gather(now)
    content = mapwriter.delta(base, facts)
    if content is None:
        return True
    MapWritten.objects.filter(digest="").exclude(base=0).delete()
    with alone(GENERATIONS, wait=True):
        generation = _next_generation()
        try:
            head = _head(generation, now, facts, content)
            payload = build_delta(base.map, head, content.columns)
        except MapError:  # two paths collide by the salt of the full one
            return True
        if _is_in_force(payload, has_files=bool(content.columns.paths)):
            return content.wants_full
        _take(generation, base.header.generation, now)
    staged = stage(_folder(), payload)
    install(staged, sign_mirror_map(generation, delta=True), _key())
    _finish(generation, payload, content, is_full=False)
    return content.wants_full


def _is_in_force(payload: Payload, *, has_files: bool) -> bool:
    """Say whether what a delta says is said already, by the one there or the full map alone."""
    try:
        return _content(_header(DELTA)) == _content(payload.header)
    except (MapError, OSError, ValueError):
        pass
    if has_files or (_folder() / DELTA).exists():
        return False
    full, wanted = json.loads(_header(FULL)), json.loads(payload.header)
    return all(full[key] == wanted[key] for key in ("mirrors", "trees", "overrides"))


def _base_in_force() -> mapwriter.Base | None:
    """Return the full map that lies there, None when there is none that may be used."""
    global _base
    try:
        if _base is None or _base.map.full.source.mark != mark_of(_folder() / FULL):
            _base = None
            _base = mapwriter.Base(_folder(), load(_folder(), _key()))
    except (MapError, OSError):
        return None
    return _base


def _next_generation() -> int:
    """Return a number beyond every one in the tables, and of the map in force, which may be ahead
    of tables that were restored.
    """
    known = MapWritten.objects.aggregate(Max("generation"))["generation__max"] or 0
    for name in (FULL, DELTA):
        try:
            known = max(known, json.loads(_header(name))["generation"])
        except (MapError, OSError, ValueError, KeyError):
            continue
    return int(known) + 1


def _take(generation: int, base: int, now: datetime) -> None:
    """Take a generation; its row has no digest before the map is in place."""
    MapWritten.objects.create(generation=generation, base=base, written_at=now, digest="")


def _finish(
    generation: int, payload: Payload, content: mapwriter.Content, *, is_full: bool
) -> None:
    """Write down what was put in place; the journal has full maps alone, deltas come by minutes."""
    counts = {"mirrors": len(content.mirrors), "files": len(content.columns.paths)}
    digest = sha256(_content(payload.header)).hexdigest()
    with transaction.atomic():
        MapWritten.objects.filter(pk=generation).update(digest=digest, **counts)
        if is_full:
            record(events.MirrorMapWritten(f"mirror-map:{generation}", **counts), who=WHO)


def _content(header: bytes) -> bytes:
    """Return what a header says but for its generation and date."""
    found = json.loads(header)
    return json.dumps(
        {key: found[key] for key in sorted(found) if key not in ("generation", "written_at")}
    ).encode()


def _header(name: str) -> bytes:
    """Return the header of a map in the folder; MapError or OSError when there is none."""
    return read_header(FileSource(_folder() / name), HEADER_AT)


def _folder() -> Path:
    return _config().mirror_map.parent


def _key() -> Ed25519PublicKey:
    return read_key(_config().public_keys / "statements.pub")


def _config() -> Config:
    config = settings.COMMONFARM
    assert isinstance(config, Config)
    return config
