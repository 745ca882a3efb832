"""Makes the tables say what an estate's YAML says, all of it or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from commonfarm.estate import logos, reader, resolve, schema
from commonfarm.estate.differences import Difference, differences, told
from commonfarm.estate.disclosure import alike
from commonfarm.estate.events import EstateLoaded
from commonfarm.estate.facts import Facts
from commonfarm.estate.files import read_files
from commonfarm.estate.folder import resolved
from commonfarm.estate.git import Commit
from commonfarm.estate.kept import NOTHING, facts_of, to_json
from commonfarm.estate.models import (
    Declared,
    Following,
    Host,
    Load,
    LoadedFile,
    Pool,
    Project,
    ReleaseTree,
    Repository,
    Target,
)
from commonfarm.estate.showing import as_text
from commonfarm.journal.interface import record
from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError
from commonfarm.store.interface import Blob, put_all

_LOCK = 0x65737461  # "esta": one load at a time

_AT_ONCE = 1000
"""Rows in one statement."""

KEYRINGS = "keyrings"
"""The folder of the state where keyrings lie that were put together from several."""

MOST_CHANGES = 1000

FIXED: dict[type[Declared], tuple[tuple[str, ...], str]] = {
    Pool: (("architecture",), "it has builders"),
    Target: (("architecture",), "there are builds for it"),
    Repository: (("tree", "path"), "it has packages, and users' apt looks for them there"),
    ReleaseTree: (("adopts",), "it has files, and users look for them there"),
}
"""What stays as it is once a thing is in use, and why."""

# A thing as it was declared, and the fields that its row is to have.
Wanted = tuple[reader.Declared[Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Given:
    """What is to be loaded: the YAML files, and how to read another file that lies beside them.

    `other` returns the bytes of a plain file, or raises ValueError that says what is wrong with it.
    With `today`, what is said to run on a host whose pledge has ended is a fault.
    """

    texts: Sequence[reader.Text]
    origin: str
    other: Callable[[str], bytes]
    today: date | None = None
    commit: Commit | None = None
    passed: Sequence[Commit] = ()


def load_directory(path: Path, who: str) -> Load:
    """Load the YAML files of `path`; raise BadInputError with all that is wrong with them.

    What is not there any more is retired. An estate that changes nothing is not recorded again:
    the last load is returned. RefusedError while a repository is followed.
    """
    _refuse_while_following()
    today = timezone.now().date()
    given = Given(read_files(path), str(path), partial(logos.beside, path), today)
    prepared = prepare(given)
    with transaction.atomic():
        _lock()
        _refuse_while_following()
        return put(prepared, who)


def _refuse_while_following() -> None:
    following = Following.current()
    if following is not None:
        what = f"the estate follows {following}, so no directory is loaded by hand"
        to_do = "commit the change there, or end that: commonfarm estate follow --stop"
        raise RefusedError(Reason("estate-follows", what, to_do))


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is to be loaded, read and resolved: no fault is left that can be known without tables.

    `files` are all that are kept: name -> bytes.
    """

    given: Given
    estate: reader.Estate
    targets: Sequence[Wanted]
    facts: Facts
    files: Mapping[str, bytes]


def prepare(given: Given) -> Prepared:
    """Read and resolve what is given; raise BadInputError with all that is wrong with it."""
    estate, facts = resolved(given.texts, given.today)
    targets = resolve.targets(estate, settings.COMMONFARM.state / KEYRINGS)
    files = {text.name: text.data for text in given.texts}
    files |= logos.read(facts.sponsors.values(), given.other)
    wanted = [(one, asdict(target)) for one, target in targets.values()]
    return Prepared(given, estate, wanted, facts, files)


def put(prepared: Prepared, who: str) -> Load:
    """Make the tables say what was prepared, in the caller's transaction, and return the load.

    Raises BadInputError for what the tables do not allow.
    """
    _lock()
    given, last = prepared.given, Load.in_force()
    # The tables and the facts may say the same of a host: that is one change.
    both = (*_apply(prepared.estate, prepared.targets), *_said(prepared, last))
    changes = told([*dict.fromkeys(both)])
    if len(changes) > MOST_CHANGES:
        changes[MOST_CHANGES:] = [f"and {len(changes) - MOST_CHANGES} more"]
    files = _stored(prepared.files)
    if last is not None and not changes and _is_kept(last, given, files):
        return last
    about = given.commit
    load = Load.objects.create(
        who=who,
        origin=given.origin,
        digest=prepared.estate.digest,
        changes=changes,
        commit=about.id if about else "",
        title=about.subject if about else "",
        author=about.author if about else "",
        committed_at=about.at if about else None,
        passed=[one.as_json() for one in given.passed],
        facts=to_json(prepared.facts),
    )
    LoadedFile.objects.bulk_create(
        LoadedFile(load=load, name=name, blob=blob) for name, blob in files.items()
    )
    Load.objects.exclude(pk=load.pk).exclude(facts="").update(facts="")
    event = EstateLoaded(f"load:{load.pk}", given.origin, changes, load.commit, load.title)
    record(event, who=who, why=f"commit {load.commit[:12]}: {load.title}" if about else "")
    return load


def _lock() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])


def _stored(files: Mapping[str, bytes]) -> dict[str, Blob]:
    names = sorted(files)
    return dict(zip(names, put_all([files[name] for name in names]), strict=True))


def _is_kept(last: Load, given: Given, files: Mapping[str, Blob]) -> bool:
    """Say whether the last load has just these files, and from a commit too if they are of one."""
    kept = dict(last.files.values_list("name", "blob_id"))
    same = kept == {name: blob.sha256 for name, blob in files.items()}
    return same and bool(last.commit) == (given.commit is not None)


def _said(prepared: Prepared, last: Load | None) -> list[Difference]:
    """Return what the estate says anew beside what has tables, of which `_apply` tells.

    Who gives anonymously is not named: what changed is read by others.
    """
    after = prepared.facts
    before = facts_of(last) if last else replace(NOTHING, catalogue=after.catalogue)
    return [
        one
        for one in differences(*alike(before, after))
        if one.kind != "host" or one.text not in ("new", "gone")
    ]


def _apply(estate: reader.Estate, targets: Sequence[Wanted]) -> list[Difference]:
    """Write the estate's things into their tables; return what changed.

    Raises BadInputError for what must stay as it is, and for what lies where something lies yet.
    """
    loading = _Loading()
    loading.problems += reader.unlike_their_pools(estate.hosts, estate.pools, resolve.architecture)
    loading.put(Pool, [(one, _pool(one.thing)) for one in estate.pools])
    pools = {pool.name: pool for pool in Pool.objects.all()}
    hosts = [(one, _host(one.thing, n, pools)) for one in estate.hosts for n in one.thing.names()]
    loading.put(Host, hosts)
    loading.put(Target, targets)
    loading.put(ReleaseTree, [(one, _tree(one.thing)) for one in estate.trees])
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

    changes: list[Difference] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    names: dict[type[Declared], list[str]] = field(default_factory=dict)

    def put(self, model: type[Declared], wanted: Sequence[Wanted]) -> None:
        """Create or change the rows of `model`; a retired one that is named again is back."""
        kind = str(model._meta.verbose_name)
        references = [one.name for one in model._meta.fields if one.is_relation]
        known = {row.name: row for row in model._default_manager.select_related(*references)}
        self.names[model] = [values["name"] for _, values in wanted]
        made: list[Declared] = []
        changed: list[Declared] = []
        for one, values in wanted:
            row = known.get(values["name"])
            if row is None:
                made.append(model(**values))
                self.changes.append(Difference(kind, values["name"], "new"))
                continue
            different = [key for key, value in values.items() if getattr(row, key) != value]
            self.problems += _forbidden(row, one, {key: values[key] for key in different})
            for key in different:
                now, before = as_text(values[key]), as_text(getattr(row, key))
                text = f"{key} is {now}, was {before}"
                self.changes.append(Difference(kind, row.name, text))
                setattr(row, key, values[key])
            if row.retired_at is not None:
                row.retired_at = None
                self.changes.append(Difference(kind, row.name, "is back"))
                different.append("retired_at")
            if different:
                changed.append(row)
        model._default_manager.bulk_create(made, _AT_ONCE)
        if changed:
            keys = [key for key in wanted[0][1] if key != "name"]
            model._default_manager.bulk_update(changed, [*keys, "retired_at"], _AT_ONCE)

    def set_targets(self, declared: schema.Project) -> None:
        """Give a project the targets that it names, or all of them where it names none."""
        project, names = Project.named(declared.name), declared.targets or self.names[Target]
        if set(project.targets.values_list("name", flat=True)) != set(names):
            project.targets.set([Target.named(name) for name in names])
            text = f"targets are {', '.join(names)}"
            self.changes.append(Difference("project", project.name, text))

    def retire(self, model: type[Declared]) -> None:
        """Retire the rows of `model` that were not put."""
        left = model._default_manager.filter(retired_at=None).exclude(name__in=self.names[model])
        kind = str(model._meta.verbose_name)
        names = left.values_list("name", flat=True)
        self.changes += [Difference(kind, name, "retired") for name in names]
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


def _host(host: schema.Host, name: str, pools: Mapping[str, Pool]) -> dict[str, Any]:
    return {
        "name": name,
        "architecture": resolve.architecture(host.architecture),
        "pool": pools[host.pool] if host.pool else None,
    }


def _tree(tree: schema.Tree) -> dict[str, Any]:
    return {
        "name": tree.name,
        "environment": tree.environment or "",
        "promotes_to": tree.promotes_to or "",
        "review": tree.review,
        "origin_only_seconds": tree.origin_only,
        "grace_seconds": tree.grace,
        "valid_seconds": tree.valid_for,
        "keep_revisions": tree.keep_revisions,
        "changing": tree.changing,
        "adopts": tree.adopts or "",
        "rpm_repositories": tree.rpm_repositories,
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
