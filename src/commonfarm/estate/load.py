"""Makes the tables say what an estate's YAML says, all of it or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from commonfarm.estate import resolve
from commonfarm.estate.events import EstateLoaded
from commonfarm.estate.files import read_files
from commonfarm.estate.models import (
    Declared,
    Host,
    Load,
    Pool,
    Project,
    ReleaseTree,
    Repository,
    Target,
)
from commonfarm.estate.reader import Estate, read
from commonfarm.estate.showing import as_text
from commonfarm.journal.interface import record

_LOCK = 0x65737461  # "esta": one load at a time

KEYRINGS = "keyrings"
"""The folder of the state where keyrings lie that were put together from several."""


def load_directory(path: Path, who: str) -> Load:
    """Load the YAML files of `path`; raise BadInputError with all that is wrong with them.

    What is not there any more is retired. An estate that changes nothing is not recorded again:
    the last load is returned.
    """
    estate = read(read_files(path))
    targets = resolve.targets(estate.targets, settings.COMMONFARM.state / KEYRINGS)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        changes = _apply(estate, targets)
        last = Load.objects.order_by("-pk").first()
        if last is not None and last.digest == estate.digest and not changes:
            return last
        load = Load.objects.create(who=who, origin=str(path), digest=estate.digest, changes=changes)
        record(EstateLoaded(f"load:{load.pk}", origin=str(path), changes=changes), who=who)
    return load


def _apply(estate: Estate, targets: Mapping[str, resolve.ResolvedTarget]) -> list[str]:
    """Write the estate's things into their tables; return what changed, a line each."""
    pools = {
        one.thing.name: {"architecture": resolve.architecture(one.thing.architecture)}
        for one in estate.pools
    }
    changes = _put(Pool, pools)
    hosts = {
        one.thing.name: {
            "architecture": resolve.architecture(one.thing.architecture),
            "pool": Pool.named(one.thing.pool) if one.thing.pool else None,
        }
        for one in estate.hosts
    }
    changes += _put(Host, hosts)
    changes += _put(Target, {name: asdict(target) for name, target in targets.items()})
    changes += _put(ReleaseTree, {one.thing.name: {} for one in estate.trees})
    repositories = {
        one.thing.name: {
            "tree": ReleaseTree.named(tree),
            "path": one.thing.path,
            "valid_seconds": one.thing.valid_for,
        }
        for tree, one in estate.repositories
    }
    changes += _put(Repository, repositories)
    projects = {
        one.thing.name: {
            "repository": Repository.named(one.thing.repository) if one.thing.repository else None
        }
        for one in estate.projects
    }
    changes += _put(Project, projects)
    for one in estate.projects:
        changes += _set_targets(Project.named(one.thing.name), one.thing.targets)
    for model in (Project, Host, Repository, ReleaseTree, Target, Pool):
        changes += _retire(model, _names(estate, model))
    return changes


def _names(estate: Estate, model: type[Declared]) -> set[str]:
    if model is Repository:
        return {one.thing.name for _, one in estate.repositories}
    things: dict[type[Declared], list[Any]] = {
        Pool: estate.pools,
        Host: estate.hosts,
        Target: estate.targets,
        ReleaseTree: estate.trees,
        Project: estate.projects,
    }
    return {one.thing.name for one in things[model]}


def _put(model: type[Declared], wanted: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Create or change the rows of `model`; a retired one that is named again is back."""
    changes = []
    kind = model._meta.verbose_name
    known = {row.name: row for row in model._default_manager.all()}
    for name, values in wanted.items():
        row = known.get(name)
        if row is None:
            model._default_manager.create(name=name, **values)
            changes.append(f"{kind} {name}: new")
            continue
        different = [key for key, value in values.items() if getattr(row, key) != value]
        for key in different:
            now, before = as_text(values[key]), as_text(getattr(row, key))
            changes.append(f"{kind} {name}: {key} is {now}, was {before}")
            setattr(row, key, values[key])
        if row.retired_at is not None:
            row.retired_at = None
            changes.append(f"{kind} {name}: is back")
            different.append("retired_at")
        if different:
            row.save(update_fields=different)
    return changes


def _set_targets(project: Project, names: list[str]) -> list[str]:
    before = set(project.targets.values_list("name", flat=True))
    if before == set(names):
        return []
    project.targets.set([Target.named(name) for name in names])
    return [f"project {project}: targets are {', '.join(names)}"]


def _retire(model: type[Declared], names: set[str]) -> list[str]:
    left = model._default_manager.filter(retired_at=None).exclude(name__in=names)
    changes = [
        f"{model._meta.verbose_name} {name}: retired"
        for name in left.values_list("name", flat=True)
    ]
    left.update(retired_at=timezone.now())
    return changes
