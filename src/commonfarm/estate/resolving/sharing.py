"""Environments that use one code tree, database or file store without saying so.

A test that writes into what production serves is how people lose data; so two environments that
name the same are an error unless one of them says that they share it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from posixpath import dirname, join, normpath

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
    used = {
        (key, kind): value
        for key, (one, number) in places.items()
        for kind in OWN
        if (value := getattr((one.thing.environments or ())[number], kind)) is not None
    }
    links = _links(used.values())
    users: dict[tuple[str, str], list[Key]] = {}
    for (key, kind), value in used.items():
        users.setdefault((kind, _end(value, links)), []).append(key)
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


def _links(values: Iterable[str]) -> dict[str, str]:
    """Return where the symlinks among these lead, each written as `ls -l` shows it."""
    found: dict[str, set[str]] = {}
    for value in values:
        link, arrow, _ = value.rpartition("->")
        if arrow:
            found.setdefault(_path(link), set()).add(_path(value))
    # One link that leads to several places stands on several hosts: which is meant is not known.
    return {link: leads.pop() for link, leads in found.items() if len(leads) == 1}


def _end(value: str, links: Mapping[str, str]) -> str:
    """Return the path or name that is used, where symlinks have been followed."""
    path, passed = _path(value), set[str]()
    while path in links and path not in passed:
        passed.add(path)
        path = links[path]
    return path


def _path(value: str) -> str:
    """Return a path or name so that two ways to write one are the same; of a symlink, its target.

    A target is on the link's host, and where it is relative in the link's folder.
    """
    link, arrow, text = value.rpartition("->")
    text = text.strip()
    if arrow:
        host, path = _on(_path(link))
        if text.startswith("/"):
            text = host + text
        elif "/" in path and not _on(text)[0]:
            text = host + join(dirname(path), text)
    host, path = _on(text)
    return host + normpath(path.replace("//", "/")) if "/" in path else text


def _on(text: str) -> tuple[str, str]:
    """Return the host of a path, with its colon, and the path there: `db1:` and `/srv/files`."""
    host, colon, path = text.partition(":")
    return (host + colon, path) if colon and "/" not in host else ("", text)


def _reached(start: Key, said: dict[Key, set[Key]]) -> set[Key]:
    """Return all that share something with `start`, also by way of others."""
    reached, waiting = {start}, [start]
    while waiting:
        for other in said.get(waiting.pop(), set()) - reached:
            reached.add(other)
            waiting.append(other)
    return reached
