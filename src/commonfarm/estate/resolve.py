"""What `host` means: this host's own suite, architecture and Debian mirror, found out at load."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commonfarm.estate import host_apt
from commonfarm.estate.reader import Declared, Estate, declared_twice, no_such
from commonfarm.estate.schema import HOST, Target
from commonfarm.lib.errors import BadInputError, CommonfarmError, Problem

UNSTABLE = ("sid", "unstable")


@dataclass(frozen=True, slots=True)
class ResolvedTarget:
    """A target with nothing left to find out; the fields are those of the model."""

    name: str
    declared_suite: str
    suite: str
    components: list[str]
    architecture: str
    package_sources: list[dict[str, Any]]
    keyring: str
    signed_sources_only: bool


def architecture(written: str) -> str:
    """Return the architecture, this host's own where `host` is written."""
    return host_apt.host_architecture() if written == HOST else written


def targets(estate: Estate, keyrings: Path) -> dict[str, tuple[Declared[Target], ResolvedTarget]]:
    """Return the targets by name, as declared and resolved.

    `keyrings` is where a keyring is kept that had to be put together from several. Raises
    BadInputError for each target that cannot be resolved or has the name of another, and for each
    that a project names and that is not there.
    """
    problems: list[Problem] = []
    found: dict[str, tuple[Declared[Target], ResolvedTarget]] = {}
    for one in estate.targets:
        try:
            target = _target(one, keyrings)
        except BadInputError as error:
            problems += error.problems
            continue
        first, _ = found.setdefault(target.name, (one, target))
        if first is not one:
            problems.append(declared_twice(target.name, first, one))
    if not problems:
        problems += [
            project.problem(*no_such("targets", name, found), "targets", number)
            for project in estate.projects
            for number, name in enumerate(project.thing.targets or ())
            if name not in found
        ]
    if problems:
        raise BadInputError(*problems)
    return found


def _target(one: Declared[Target], keyrings: Path) -> ResolvedTarget:
    target, key = one.thing, "suite"
    try:
        suite = host_apt.host_suite() if target.suite == HOST else target.suite
        key = "architecture"
        resolved_architecture = architecture(target.architecture)
        key = "packages"
        sources = _sources(target, suite)
        key = "keyring"
        keyring = host_apt.keyring_of(sources, keyrings)
    except CommonfarmError as error:
        raise BadInputError(one.problem(error.reason.text, error.reason.lifted_by, key)) from None
    return ResolvedTarget(
        name=target.name or f"{suite}-{resolved_architecture}",
        declared_suite=target.suite,
        suite=suite,
        components=list(target.components),
        architecture=resolved_architecture,
        package_sources=[
            {"uri": one.uri, "suite": one.suite, "components": list(one.components)}
            for one in sources
        ],
        keyring=str(keyring),
        signed_sources_only=target.signed_sources_only,
    )


def _sources(target: Target, suite: str) -> list[host_apt.PackageSource]:
    """Return where the target's packages come from; the host's own entries for `packages: host`."""
    if not isinstance(target.packages, str):
        return [
            host_apt.PackageSource(one.uri, one.suite, tuple(one.components), target.keyring or "")
            for one in target.packages
        ]
    host = host_apt.host_suite()
    return [
        host_apt.PackageSource(
            one.uri,
            one.suite.replace(host, suite, 1),
            tuple(target.components),
            target.keyring or one.signed_by,
        )
        for one in host_apt.host_package_sources()
        # Unstable has neither updates nor security fixes of its own.
        if suite not in UNSTABLE or one.suite == host
    ]
