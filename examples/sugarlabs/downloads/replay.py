"""Clients that ask the redirector, each from its own address: what they are sent, and where it is.

    python -m examples.sugarlabs.downloads.replay REDIRECTOR < ASKED > ANSWERED

runs inside the internet of the story. A line asked is JSON: {"client", "path"}; a line answered is
{"status", "mirror", "fetched"}: where a client that follows got the file from in the end ("" is
ourselves), by its head alone. No body is moved: a body that begins is cut off.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
from collections.abc import Iterable, Iterator
from urllib.parse import urlsplit

SECONDS = 5.0
_LINK = re.compile(r"<([^>]+)>; rel=duplicate; pri=(\d+)")


def ask(redirector: str, client: str, path: str) -> dict[str, object]:
    """Ask for `path` from the address `client`, and follow as a client does: the target first, then
    the next best of the Link headers.
    """
    where = urlsplit(redirector)
    connection = http.client.HTTPConnection(
        where.hostname or "", where.port or 80, timeout=SECONDS, source_address=(client, 0)
    )
    try:
        connection.request("GET", f"/{path}", headers={"User-Agent": "replay"})
        answer = connection.getresponse()
        if answer.status != 302:
            return {"status": answer.status, "mirror": "", "fetched": answer.status == 200}
        links = [_LINK.match(text) for text in answer.headers.get_all("Link", [])]
        targets = [answer.headers["Location"]]
        targets += [one[1] for one in links if one and one[1] not in targets]
    finally:
        connection.close()
    for target in targets:
        if _has(client, target):
            return {"status": 302, "mirror": urlsplit(target).hostname, "fetched": True}
    return {"status": 302, "mirror": urlsplit(targets[0]).hostname, "fetched": False}


def _has(client: str, url: str) -> bool:
    where = urlsplit(url)
    connection = http.client.HTTPConnection(
        where.hostname or "", where.port or 80, timeout=SECONDS, source_address=(client, 0)
    )
    try:
        connection.request("HEAD", where.path)
        return connection.getresponse().status == 200
    except OSError:
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
