"""Makes the tables say what an estate's YAML says, all of it or nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from commonfarm.estate import reader, resolve, schema
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
from commonfarm.estate.showing import as_text
from commonfarm.journal.interface import record
from commonfarm.lib.errors import BadInputError, Problem

_LOCK = 0x65737461  # "esta": one load at a time

KEYRINGS = "keyrings"
"""The folder of the state where keyrings lie that were put together from several."""

FIXED: dict[type[Declared], tuple[tuple[str, ...], str]] = {
    Pool: (("architecture",), "it has builders"),
    Target: (("architecture",), "there are builds for it"),
    Repository: (("tree", "path"), "it has packages, and users' apt looks for them there"),
}
"""What stays as it is once a thing is in use, and why."""

# A thing as it was declared, and the fields that its row is to have.
Wanted = tuple[reader.Declared[Any], dict[str, Any]]


def load_directory(path: Path, who: str) -> Load:
    """Load the YAML files of `path`; raise BadInputError with all that is wrong with them.

    What is not there any more is retired. An estate that changes nothing is not recorded again:
    the last load is returned.
    """
    estate = reader.read(read_files(path))
    targets = resolve.targets(estate, settings.COMMONFARM.state / KEYRINGS)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        changes = _apply(estate, [(one, asdict(target)) for one, target in targets.values()])
        last = Load.objects.order_by("-pk").first()
        if last is not None and last.digest == estate.digest and not changes:
            return last
        load = Load.objects.create(who=who, origin=str(path), digest=estate.digest, changes=changes)
        record(EstateLoaded(f"load:{load.pk}", origin=str(path), changes=changes), who=who)
    return load


def _apply(estate: reader.Estate, targets: Sequence[Wanted]) -> list[str]:
    """Write the estate's things into their tables; return what changed, a line each.

    Raises BadInputError for what must stay as it is, and for what lies where something lies yet.
    """
    loading = _Loading()
    loading.problems += reader.unlike_their_pools(estate.hosts, estate.pools, resolve.architecture)
    loading.put(Pool, [(one, _pool(one.thing)) for one in estate.pools])
    loading.put(Host, [(one, _host(one.thing)) for one in estate.hosts])
    loading.put(Target, targets)
    loading.put(ReleaseTree, [(one, {"name": one.thing.name}) for one in estate.trees])
    repositories = [(one, _repository(tree, one.thing)) for tree, one in estate.repositories]
    loading.put(Repository, repositories)
    loading.put(Project, [(one, _project(one.thing)) for one in estate.projects])
    for project in estate.projects:
        loading.set_targets(project.thing)
    for model in (Project, Host, Repository, ReleaseTree, Target, Pool):
        loading.retire(model)
    loading.problems += reader.overlapping(estate.repositories, _left_behind())
    if loading.problems:
        raise BadInputError(*loading.problems)
    return loading.changes


@dataclass(slots=True)
class _Loading:
    """What a load did so far: what it changed, what is wrong with that, and what it has named."""

    changes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    names: dict[type[Declared], list[str]] = field(default_factory=dict)

    def put(self, model: type[Declared], wanted: Sequence[Wanted]) -> None:
        """Create or change the rows of `model`; a retired one that is named again is back."""
        kind = model._meta.verbose_name
        known = {row.name: row for row in model._default_manager.all()}
        self.names[model] = [values["name"] for _, values in wanted]
        for one, values in wanted:
            row = known.get(values["name"])
            if row is None:
                model._default_manager.create(**values)
                self.changes.append(f"{kind} {values['name']}: new")
                continue
            different = [key for key, value in values.items() if getattr(row, key) != value]
            self.problems += _forbidden(row, one, {key: values[key] for key in different})
            for key in different:
                now, before = as_text(values[key]), as_text(getattr(row, key))
                self.changes.append(f"{kind} {row}: {key} is {now}, was {before}")
                setattr(row, key, values[key])
            if row.retired_at is not None:
                row.retired_at = None
                self.changes.append(f"{kind} {row}: is back")
                different.append("retired_at")
            if different:
                row.save(update_fields=different)

    def set_targets(self, declared: schema.Project) -> None:
        """Give a project the targets that it names, or all of them where it names none."""
        project, names = Project.named(declared.name), declared.targets or self.names[Target]
        if set(project.targets.values_list("name", flat=True)) != set(names):
            project.targets.set([Target.named(name) for name in names])
            self.changes.append(f"project {project}: targets are {', '.join(names)}")

    def retire(self, model: type[Declared]) -> None:
        """Retire the rows of `model` that were not put."""
        left = model._default_manager.filter(retired_at=None).exclude(name__in=self.names[model])
        kind = model._meta.verbose_name
        self.changes += [f"{kind} {name}: retired" for name in left.values_list("name", flat=True)]
        left.update(retired_at=timezone.now())


def _forbidden(
    row: Declared, one: reader.Declared[Any], different: Mapping[str, Any]
) -> Iterator[Problem]:
    """Yield a problem for each of these changes that must not be made, since `row` is in use."""
    keys, why = FIXED.get(type(row), ((), ""))
    fixed = [key for key in keys if key in different]
    if fixed and row.in_use():
        kind = row._meta.verbose_name
        for key in fixed:
            before = getattr(row, key)
            what = f"the {key} of the {kind} {row} is {before} and stays so: {why}"
            to_do = f"leave it at {before}, and declare another {kind} for {different[key]}"
            yield one.problem(what, to_do, key)


def _left_behind() -> dict[tuple[str, str], str]:
    """Return the places, tree and path, of retired repositories whose packages stay there."""
    retired = Repository.objects.filter(retired_at__isnull=False).select_related("tree")
    return {
        (one.tree.name, one.path): f"{one}, which left the estate and keeps its place"
        for one in retired
        if one.in_use()
    }


def _pool(pool: schema.Pool) -> dict[str, Any]:
    return {"name": pool.name, "architecture": resolve.architecture(pool.architecture)}


def _host(host: schema.Host) -> dict[str, Any]:
    return {
        "name": host.name,
        "architecture": resolve.architecture(host.architecture),
        "pool": Pool.named(host.pool) if host.pool else None,
    }


def _repository(tree: str, repository: schema.Repository) -> dict[str, Any]:
    return {
        "name": repository.name,
        "tree": ReleaseTree.named(tree),
        "path": repository.path,
        "valid_seconds": repository.valid_for,
    }


def _project(project: schema.Project) -> dict[str, Any]:
    repository = Repository.named(project.repository) if project.repository else None
    return {"name": project.name, "repository": repository}
