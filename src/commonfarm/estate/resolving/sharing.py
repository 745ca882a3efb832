"""Environments that use one code tree, database or file store without saying so.

A test that writes into what production serves is how people lose data; so two environments that
name the same are an error unless one of them says that they share it.
"""

from __future__ import annotations

from collections.abc import Iterator
from posixpath import normpath

from commonfarm.estate import schema
from commonfarm.estate.reader import Declared, Estate, no_such
from commonfarm.lib.errors import Problem

OWN = ("code_tree", "database", "file_store")

Key = tuple[str, str]
"""Service and environment."""


def shared_unsaid(estate: Estate) -> Iterator[Problem]:
    """Yield what environments have in common and do not say, and what they say of none."""
    places: dict[Key, tuple[Declared[schema.Service], int]] = {
        (one.thing.name, environment.name): (one, number)
        for one in estate.services
        for number, environment in enumerate(one.thing.environments or ())
    }
    said: dict[Key, set[Key]] = {}
    for (service, name), (one, number) in places.items():
        for index, other in enumerate((one.thing.environments or ())[number].shared_with):
            of, _, environment = other.rpartition("/")
            key = (of or service, environment)
            if key in places:
                said.setdefault((service, name), set()).add(key)
                said.setdefault(key, set()).add((service, name))
            elif not of or of not in estate.names.of["services"]:
                known = [b if a == service else f"{a}/{b}" for a, b in places]
                known.remove(name)
                inside = ("environments", number, "shared_with", index)
                yield one.problem(*no_such("environments", other, known), *inside)
    users: dict[tuple[str, str], list[Key]] = {}
    for key, (one, number) in places.items():
        for kind in OWN:
            value = getattr((one.thing.environments or ())[number], kind)
            if value is not None:
                users.setdefault((kind, _normal(value)), []).append(key)
    for (kind, value), keys in users.items():
        allowed = _reached(keys[0], said)
        for key in keys[1:]:
            if key not in allowed:
                one, number = places[key]
                first, position = places[keys[0]]
                where = first.where("environments", position, kind)
                what = (
                    f"{key[0]}/{key[1]} uses the {kind.replace('_', ' ')} {value[:80]}"
                    f" of {keys[0][0]}/{keys[0][1]}, see {where}"
                )
                other = keys[0][1] if keys[0][0] == key[0] else "/".join(keys[0])
                to_do = f"give it one of its own, or say `shared_with: [{other}]`"
                yield one.problem(what, to_do, "environments", number, kind)


def _normal(value: str) -> str:
    """Return a path or name so that two ways to write one are the same.

    Of a symlink, written as `ls -l` shows it, that is where it leads.
    """
    text = value.rpartition("->")[2].strip()
    return normpath(text.replace("//", "/")) if "/" in text else text


def _reached(start: Key, said: dict[Key, set[Key]]) -> set[Key]:
    """Return all that share something with `start`, also by way of others."""
    reached, waiting = {start}, [start]
    while waiting:
        for other in said.get(waiting.pop(), set()) - reached:
            reached.add(other)
            waiting.append(other)
    return reached
