"""Metalinks and lists of mirrors, of a file, of a folder, and of a repository as dnf names it."""

from __future__ import annotations

import os
from http import HTTPStatus

from commonfarm.redirector import accept, lists, metalink, reasons
from commonfarm.redirector.asking import Asked
from commonfarm.redirector.lists import Listing, Place
from commonfarm.redirector.metalink import Address, Described
from commonfarm.redirector.metrics import Outcome
from commonfarm.redirector.request import escaped, shown
from commonfarm.redirector.response import Answer, document, refusal
from commonfarm.redirector.selection import Choice, below, carries

MOST_LISTED = 100
MOST_NAMED = 20
"""So many repositories are named to whom asked for one that there is not."""
REPOMD = b"repodata/repomd.xml"


def metalink_of(asked: Asked, path: bytes, kind: str) -> Answer:
    """Return the metalink of a known file: its mirrors, and last ourselves."""
    wanted = {one for one in asked.parameters.get("protocol", "").split(",") if one}
    client = asked.client
    if "https" in wanted and "http" not in wanted:
        client = asked.shared.locate(client.address, "https", client.country, client.as_number)
    table = asked.table
    choice = table.selector.choose(
        os.fsdecode(path), client, table.now, table.spent, for_list=True, most=MOST_LISTED
    )
    addresses = [Address(one.url, one.mirror.country) for one in placed(choice)]
    addresses.append(Address(asked.ours(path)))
    if wanted:
        addresses = [one for one in addresses if one.url.partition(":")[0] in wanted]
    size, sha256, _ = asked.facts(path)
    described = Described(
        name=shown(path.rpartition(b"/")[2]),
        size=size,
        sha256=sha256,
        hashes=table.map.hashes(path),
        addresses=[one for one in addresses if one.url],
        origin=asked.ours(path + b".meta4"),
        written_at=table.map.written_at,
    )
    made = metalink.version4 if kind == accept.METALINK4 else metalink.version3
    return document(kind, made(described), Outcome.METALINK, asked.condition)


def placed(choice: Choice, cut: int = 0) -> list[Place]:
    """Return the ranked mirrors with the file's address there, its last `cut` letters cut off."""
    inside = choice.path.partition("/")[2]
    inside = inside[: len(inside) - cut]
    return [
        Place(one.mirror, one.base + _escaped(below(one.mirror, inside)), one)
        for one in choice.ranked
    ]


def _escaped(path: str) -> str:
    return escaped(os.fsencode(path)).decode()


def list_of(asked: Asked, path: bytes, file: bytes | None) -> Answer:
    """Return the list of mirrors of a known file or of a folder, as the client wants it."""
    apt = False
    if file is None:
        folder = path.rstrip(b"/")
        marker = asked.known(_under(folder, REPOMD))
        if marker is not None:
            listing = _of_file(asked, marker, len(REPOMD))
        else:
            found = _of_folder(asked, folder)
            if found is None:
                return refusal(HTTPStatus.NOT_FOUND, "there is no such tree")
            listing, apt = found, True
    else:
        listing = _of_file(asked, file, 0)
    kind = accept.best_of(asked.accept, (lists.TEXT, lists.PAGE, lists.JSON))
    if kind == lists.JSON:
        text = lists.as_json(listing)
    elif kind == lists.PAGE:
        text = lists.as_page(listing)
    else:
        text = lists.as_apt(listing) if apt else lists.as_text(listing)
    charset = "" if kind == lists.JSON else "; charset=utf-8"
    body = text.encode("utf-8", "replace")
    return document(kind + charset, body, Outcome.LIST, asked.condition)


def repository(asked: Asked, path: bytes) -> Answer:
    """Answer `/metalink` and `/mirrorlist` as dnf asks them: `?repo=&arch=` or `?path=`."""
    found = _asked_for(asked)
    if isinstance(found, Answer):
        return found
    if path == b"metalink":
        return metalink_of(asked, found, accept.METALINK3)
    cut = len(REPOMD) if found.endswith(b"/" + REPOMD) else 0
    text = lists.as_text(_of_file(asked, found, cut))
    body = text.encode("utf-8", "replace")
    return document("text/plain; charset=utf-8", body, Outcome.LIST, asked.condition)


def _asked_for(asked: Asked) -> bytes | Answer:
    """Return the file that stands for the repository that is asked for, or why there is none."""
    if "path" in asked.parameters:
        wanted = os.fsencode(asked.parameters["path"].strip("/"))
        found = asked.known(wanted) or asked.known(_under(wanted, REPOMD))
        if found is None:
            return refusal(HTTPStatus.NOT_FOUND, "no mirror map knows that path")
        return found
    name, arch = asked.parameters.get("repo", ""), asked.parameters.get("arch", "")
    trees = asked.table.map.trees
    for key in (f"{name}/{arch}", name) if arch else (name,):
        for tree in sorted(trees):
            folder = trees[tree].repositories.get(key)
            if folder is not None:
                inside = _under(os.fsencode(folder.strip("/")), REPOMD)
                found = asked.known(_under(os.fsencode(tree), inside))
                if found is not None:
                    return found
                return refusal(HTTPStatus.NOT_FOUND, f"no mirror map knows {key} of {tree} yet")
    names = sorted({key for tree in trees.values() for key in tree.repositories})
    some = ", ".join(names[:MOST_NAMED]) or "none"
    return refusal(HTTPStatus.NOT_FOUND, f"no repository has that name; there are: {some}")


def _under(folder: bytes, path: bytes) -> bytes:
    return folder + b"/" + path if folder else path


def _of_file(asked: Asked, path: bytes, cut: int) -> Listing:
    """Return the listing of a known file, or of the folder that is left when `cut` bytes go."""
    table, client = asked.table, asked.client
    name = os.fsdecode(path)
    choice = table.selector.explain(name, client, table.now, table.spent, for_list=True)
    size, sha256, changes = asked.facts(path)
    stays = table.selector.choose(name, client, table.now, table.spent)
    shorter = path[: len(path) - cut]
    return Listing(
        path=shown(shorter),
        client=client,
        places=placed(choice, cut)[:MOST_LISTED],
        left_out=choice.excluded,
        reason=reasons.CHANGES_IN_PLACE if changes and not cut else choice.reason,
        ours=asked.ours(shorter),
        from_us=stays.mirror is None and not cut,
        size=None if cut else size,
        sha256="" if cut else sha256.hex(),
    )


def _of_folder(asked: Asked, folder: bytes) -> Listing | None:
    """Return the listing of a folder of which nothing is known but its tree; None without that."""
    table, client = asked.table, asked.client
    name = table.map.resolve(os.fsdecode(folder))
    tree, _, inside = name.partition("/")
    if tree not in table.map.trees:
        return None
    inside = inside and inside + "/"
    ranking = table.selector.rank(tree, client)
    places, spent_up = [], {}
    for number in ranking.order:
        mirror = table.map.mirrors[number]
        if not carries(mirror, inside):
            continue
        if table.selector.takes(number, 1, table.now, table.spent):
            url = ranking.bases[number] + _escaped(below(mirror, inside))
            places.append(Place(mirror, url))
        else:
            spent = table.spent.get(mirror.name, 0)
            spent_up[mirror] = reasons.over_budget(mirror, spent, 1, table.now)
    explained = table.selector.explain(name + "/", client, table.now, table.spent)
    listed = {place.mirror for place in places}
    return Listing(
        path=shown(folder),
        client=client,
        places=places[:MOST_LISTED],
        left_out=[
            (mirror, spent_up.get(mirror, why))
            for mirror, why in explained.excluded
            if mirror not in listed
        ],
        reason=reasons.Reason(reasons.Why.CHOSEN, "a folder has mirrors, and each file its own"),
        ours=asked.ours(folder + b"/"),
        from_us=True,
    )
