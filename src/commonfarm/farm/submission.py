"""Takes in what people submit: a source package and what it is to be built for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from django.db import transaction

from commonfarm.estate.interface import Project, Target
from commonfarm.farm.choosing import choose_targets
from commonfarm.farm.events import BuildSubmitted
from commonfarm.farm.models import Build, Job, Source, SourceFile, tell_scheduler
from commonfarm.farm.sources import Dsc, check_files, has_packages_of, read_dsc
from commonfarm.journal.interface import record
from commonfarm.lib.errors import BadInputError, Problem, Reason, RefusedError
from commonfarm.store.interface import Blob, path_of, read


@dataclass(frozen=True, slots=True)
class Brought:
    """A source package as it was uploaded: its .dsc and the other files by name."""

    dsc: Blob
    files: dict[str, Blob]


def targets_of(project: Project, names: Sequence[str]) -> list[Target]:
    """Return the named targets of `project`, all of them for no name.

    Raises BadInputError for one that is not the project's, RefusedError when none is left.
    """
    if project.retired_at is not None:
        raise RefusedError(
            Reason("project-retired", f"the project {project} left the estate", "name another")
        )
    known = {target.name: target for target in project.targets.filter(retired_at=None)}
    return [known[name] for name in choose_targets(names, project.name, known)]


def take_in(brought: Brought, targets: Sequence[Target]) -> Source:
    """Check a source package against what `targets` demand, and keep it; one row per .dsc.

    Raises BadInputError with every fault found.
    """
    data = read(brought.dsc.sha256)
    demanding = [target for target in targets if target.signed_sources_only]
    # Every keyring that demands a signature has to know the key, so each judges on its own.
    dsc = read_dsc(data)
    for keyring in {target.keyring for target in demanding}:
        dsc = read_dsc(data, keyrings=[Path(keyring)], must_be_signed=True)
    _check_architectures(dsc, targets)
    known = Source.objects.filter(dsc=brought.dsc).first()
    if known is not None:
        if dsc.signed_by and not known.signed_by:
            known.signed_by = dsc.signed_by
            known.save(update_fields=["signed_by"])
        return known
    check_files(dsc, {name: path_of(blob.sha256) for name, blob in brought.files.items()})
    with transaction.atomic():
        source, made = Source.objects.get_or_create(
            dsc=brought.dsc,
            defaults={
                "name": dsc.source,
                "version": dsc.version,
                "signed_by": dsc.signed_by,
                "control": dsc.control,
            },
        )
        if made:
            files = {**brought.files, dsc.file_name: brought.dsc}
            SourceFile.objects.bulk_create(
                SourceFile(source=source, name=name, blob=blob) for name, blob in files.items()
            )
    return source


def submit(
    source: Source,
    project: Project,
    targets: Sequence[Target],
    *,
    who: str,
    needs: dict[str, object] | None = None,
) -> Build:
    """Have `source` built for `targets`: one job each, which the scheduler hears of at once."""
    with transaction.atomic():
        build = Build.objects.create(source=source, project=project, submitted_by=who)
        jobs = Job.objects.bulk_create(
            Job(build=build, target=target, needs=needs or {}) for target in targets
        )
        record(
            BuildSubmitted(
                f"build:{build.pk}",
                source=str(source),
                project=project.name,
                targets=[target.name for target in targets],
            ),
            who=who,
        )
        tell_scheduler(job.pk for job in jobs)
    return build


def _check_architectures(dsc: Dsc, targets: Sequence[Target]) -> None:
    builds_on = [wildcard for wildcard in dsc.architectures if wildcard != "source"]
    for target in targets:
        if "all" not in builds_on and not has_packages_of(target.architecture, builds_on):
            raise BadInputError(
                Problem(
                    dsc.file_name,
                    0,
                    0,
                    f"{dsc.source} builds on {' '.join(builds_on)}, and {target} is"
                    f" {target.architecture}",
                    "leave that target out",
                )
            )
