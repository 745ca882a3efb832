"""Clients that ask the redirector, each from its own address: what they are sent, and where it is.

    python -m examples.sugarlabs.downloads.replay REDIRECTOR < ASKED > ANSWERED

runs inside the internet of the story. A line asked is JSON: {"client", "path"}; a line answered is
what `ask` returns, or for a path that ends in `?mirrorlist` the list.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

SECONDS = 5.0
LIST = "?mirrorlist"
NOTHING = {"status": 0, "told": "", "mirror": "", "fetched": False}
"""The answer where there is none."""
_LINK = re.compile(r"<([^>]+)>; rel=duplicate; pri=(\d+)")


def ask(redirector: str, client: str, path: str) -> dict[str, Any]:
    """Ask for `path` from the address `client`, and follow as a client does: the target first, then
    the next best of the Link headers.

    `told` is the mirror that was told first, `mirror` the one that has the file, by its head alone
    ("" is ourselves in both); what we send ourselves is read whole. `fetched`: some had it.
    """
    connection = _connection(client, redirector)
    try:
        wanted = {"Accept": "application/json"} if path.endswith(LIST) else {}
        connection.request("GET", f"/{path}", headers={"User-Agent": "replay"} | wanted)
        answer = connection.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        return NOTHING
    finally:
        connection.close()
    if wanted and answer.status == 200:
        return dict(json.loads(body))
    if answer.status != 302:
        return NOTHING | {"status": answer.status, "fetched": answer.status == 200}
    links = [_LINK.match(text) for text in answer.headers.get_all("Link", [])]
    targets = [answer.headers["Location"]]
    targets += [one[1] for one in links if one and one[1] not in targets]
    told = urlsplit(targets[0]).hostname
    for target in targets:
        if _has(client, target):
            mirror = urlsplit(target).hostname
            return {"status": 302, "told": told, "mirror": mirror, "fetched": True}
    return {"status": 302, "told": told, "mirror": told, "fetched": False}


def _connection(client: str, url: str) -> http.client.HTTPConnection:
    where = urlsplit(url)
    return http.client.HTTPConnection(
        where.hostname or "", where.port or 80, timeout=SECONDS, source_address=(client, 0)
    )


def _has(client: str, url: str) -> bool:
    connection = _connection(client, url)
    try:
        connection.request("HEAD", urlsplit(url).path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def replay(redirector: str, lines: Iterable[str]) -> Iterator[str]:
    """Ask for each line, and return each answer as a line."""
    for line in lines:
        asked = json.loads(line)
        yield json.dumps(ask(redirector, asked["client"], asked["path"]))


if __name__ == "__main__":
    for answered in replay(sys.argv[1], sys.stdin):
        sys.stdout.write(answered + "\n")
        sys.stdout.flush()
