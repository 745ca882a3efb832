"""From scans to the mirror map. Pure; `reconcile` brings the rows and writes the file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from commonfarm.mirrors.addresses import all_loopback, families_of
from commonfarm.redirector.mirror_map import File, Mirror, MirrorMap, serialise


@dataclass(frozen=True, slots=True)
class TreeFileFact:
    """A current file of a tree that mirrors may have: size in bytes, and the revision it is of."""

    path: str
    size: int
    since_revision: int


@dataclass(frozen=True, slots=True)
class MirrorFact:
    """A mirror, and its last scan: of which revision, and what was missing.

    `problem` says why nobody may be sent there, empty when the scan may be believed.
    """

    name: str
    tree: str
    url: str
    country: str
    problem: str
    revision: int = 0
    missing: frozenset[str] = frozenset()
    addresses: Sequence[str] = ()


def compile_map(
    mirrors: Iterable[MirrorFact], trees: Mapping[str, Iterable[TreeFileFact]]
) -> MirrorMap:
    """Return the map, with generation 0 and no date.

    A file that became current after a mirror's scan was not looked for there, so that mirror does
    not have it yet.
    """
    facts = sorted(mirrors, key=lambda fact: fact.name)
    compiled: dict[str, dict[str, File]] = {}
    interned: dict[frozenset[int], frozenset[int]] = {}
    for tree, files in trees.items():
        able = [
            (number, fact)
            for number, fact in enumerate(facts)
            if fact.tree == tree and not fact.problem
        ]
        compiled[tree] = {}
        for file in files:
            having = frozenset(
                number
                for number, fact in able
                if file.since_revision <= fact.revision and file.path not in fact.missing
            )
            compiled[tree][file.path] = File(file.size, interned.setdefault(having, having))
    return MirrorMap(
        generation=0,
        written_at="",
        mirrors=tuple(
            Mirror(
                name=fact.name,
                tree=fact.tree,
                url=fact.url,
                country=fact.country,
                families=families_of(fact.addresses),
                local=bool(fact.addresses) and all_loopback(fact.addresses),
                problem=fact.problem,
            )
            for fact in facts
        ),
        trees=compiled,
    )


def digest_of(the_map: MirrorMap) -> str:
    """Return the SHA-256 of the content, whatever its generation and date."""
    return hashlib.sha256(serialise(replace(the_map, generation=0, written_at=""))).hexdigest()
