"""What each request is answered, but for the plain redirects that `connection` makes itself.

All that is looked at here is in memory; the disk is asked only for files that we serve ourselves,
and for a real file whose name ends like one of our own forms of another (`.sha256`).
"""

from __future__ import annotations

import json
import logging
import os
from http import HTTPStatus

from commonfarm.redirector import accept, redirects, response
from commonfarm.redirector.asking import Asked
from commonfarm.redirector.counts import key_end
from commonfarm.redirector.listings import list_of, metalink_of, repository
from commonfarm.redirector.metrics import CONTENT_TYPE, Outcome, render
from commonfarm.redirector.mirror_map import MapError
from commonfarm.redirector.networks import Address
from commonfarm.redirector.origin import Opened, part_of
from commonfarm.redirector.redirects import Route
from commonfarm.redirector.request import (
    Request,
    escaped,
    is_hidden,
    is_internal,
    length_of,
    matches,
    parameters,
    shown,
    split_target,
)
from commonfarm.redirector.response import Answer, Counted, document, refusal
from commonfarm.redirector.state import Redirector

HASHES = ("sha256", "sha1", "md5")
METALINKS = {"meta4": accept.METALINK4, "metalink": accept.METALINK3}
FORMS = (*METALINKS, "mirrorlist", *HASHES)
"""Other forms of a file, by the ending of its name or by a query of just that name."""

log = logging.getLogger("commonfarm.redirector")


def answer(shared: Redirector, request: Request, peer: Address, route: Route) -> Answer:
    """Answer one request of `route`, whose connection comes from `peer`. Counts redirects."""
    if request.method not in (b"GET", b"HEAD"):
        return refusal(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
    target = split_target(request.target)
    if target is None:
        return refusal(HTTPStatus.BAD_REQUEST, "the path is not a plain one")
    path, query = target
    asked = Asked(shared, request.head, path, parameters(query) if query else {}, route)
    if path.startswith(b"-/"):
        return _status(asked, peer)
    if asked.parameters.keys() & {"country", "as"}:
        asked.route = asked.elsewhere()
    try:
        if path in (b"metalink", b"mirrorlist") and asked.parameters.keys() & {"repo", "path"}:
            return repository(asked, path)
        return _file(asked, request.method)
    except MapError as error:
        log.error("the hashes of %s cannot be read: %s", shown(path), error)
        text = "what is known of this file cannot be read at this moment"
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, text)


def _file(asked: Asked, method: bytes) -> Answer:
    """Answer for a file or a folder, or for another form of one."""
    path = asked.path
    form = next((name for name in FORMS if name in asked.parameters), "")
    file = asked.known(path)
    if file is None and not form:
        stem, _, ending = path.rpartition(b".")
        name = ending.decode("latin-1")
        if stem and name in FORMS and not _lies_here(asked, path):
            form, path, file = name, stem, asked.known(stem)
    if form == "mirrorlist":
        return list_of(asked, path, file)
    if file is None:
        if form:
            return refusal(HTTPStatus.NOT_FOUND, "no mirror map knows such a file")
        return _serve(asked, path, None, method)
    if form in METALINKS:
        return metalink_of(asked, file, METALINKS[form])
    if form:
        return _hash(asked, file, form)
    if kind := accept.metalink_wanted(asked.accept):
        return metalink_of(asked, file, kind)
    return _known_file(asked, file, method)


def _known_file(asked: Asked, file: bytes, method: bytes) -> Answer:
    """Redirect a file that the map knows, or serve it."""
    shared, table = asked.shared, asked.table
    _, sha256, changes = asked.facts(file)
    etag = b"" if changes else redirects.etag_of(sha256)
    if etag and asked.condition is not None and matches(asked.condition, etag):
        return response.not_modified(etag)
    found = table.find(file, asked.route)
    if found is None:
        return _serve(asked, asked.path, file, method)
    if method == b"GET":
        downloads, size = length_of(asked.head.headers, found[2])
        shared.count_redirect(file, found, downloads, size)
    lines = redirects.lines(response.REDIRECT, found, escaped(file), asked.base)
    return Answer(HTTPStatus.FOUND, lines, Outcome.REDIRECTED)


def _hash(asked: Asked, file: bytes, form: str) -> Answer:
    """Answer a file's hash in the form that `sha256sum --check` and its like read."""
    _, sha256, _ = asked.facts(file)
    if form == "sha256":
        value = sha256
    else:
        hashes = asked.table.map.hashes(file)
        value = getattr(hashes, form) if hashes is not None else b""
    if not value:
        return refusal(HTTPStatus.NOT_FOUND, f"the {form} of this file is not known")
    body = value.hex().encode() + b"  " + file.rpartition(b"/")[2] + b"\n"
    return document("text/plain; charset=utf-8", body, Outcome.HASH, asked.condition)


def _open(asked: Asked, path: bytes, file: bytes | None) -> Opened | None:
    """Open our own copy of `path`, that is of `file` where the map knows it; None without one."""
    name = os.fsdecode(file or path)
    tree, _, inside = name.partition("/")
    adopted = asked.shared.adopted.get(tree)
    if adopted is not None:
        return None if file is None and is_hidden(inside) else adopted.open(inside)
    if is_internal(name):
        return None
    found = asked.shared.published.open(name)
    if found is None and file is not None and file != path:
        found = asked.shared.published.open(os.fsdecode(path))  # an alias that is there as a link
    return found


def _lies_here(asked: Asked, path: bytes) -> bool:
    try:
        found = _open(asked, path, None)
    except OSError:
        return True
    if found is None:
        return False
    found.close()
    return True


def unreadable(path: str, error: OSError) -> Answer:
    """Return that a file cannot be served now, which may pass: no descriptor, a failing disk."""
    log.error("%s cannot be served: %s", path, error)
    text = "this file cannot be read at this moment; come again"
    return refusal(HTTPStatus.SERVICE_UNAVAILABLE, text)


def _serve(asked: Asked, path: bytes, file: bytes | None, method: bytes) -> Answer:
    """Serve a file ourselves; `file` is what the map knows it by."""
    shared = asked.shared
    try:
        opened = _open(asked, path, file)
    except OSError as error:
        return unreadable(shown(path), error)
    if opened is None:
        folder = not path or path.endswith(b"/")
        text = "folders are not listed here; ask for a file" if folder else "there is no such file"
        return refusal(HTTPStatus.NOT_FOUND, text)
    size, sha256, changes = asked.facts(file) if file is not None else (0, b"", False)
    if changes or size != opened.size:
        # What lies here may already be another state than the one that the map knows.
        sha256 = b""
    etag = redirects.etag_of(sha256) or opened.etag
    part = part_of(opened, etag, asked.head.headers)
    described = b""
    if file is not None and shared.public:
        # Never by the address that was asked: caches keep this answer, and whoever is the first to
        # ask may have made a `Host` up.
        described = shared.public + b"/" + escaped(file) + b".meta4"
    answer = Answer(
        HTTPStatus(part.status),
        response.file_lines(opened, part, etag, sha256, described, changes=changes or not sha256),
        Outcome.NOT_MODIFIED if part.status == HTTPStatus.NOT_MODIFIED else Outcome.SERVED,
    )
    if method == b"HEAD" or part.status not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
        opened.close()
        return answer
    # What was published this very second is not in the map yet: the hub knows what there is.
    end = key_end("", asked.client.country)
    answer.counted = Counted(file or path, end, int(part.start == 0))
    if part.length == 0:
        opened.close()
        shared.count_served(answer, 0)
    elif len(shared.transfers) >= shared.settings.most_transfers:
        opened.close()
        text = "too many downloads from here at this moment; come again"
        return refusal(HTTPStatus.SERVICE_UNAVAILABLE, text)
    else:
        answer.file, answer.part = opened, part
    return answer


def _status(asked: Asked, peer: Address) -> Answer:
    """Answer who watches over us. Metrics are only for this machine and for trusted proxies.

    A request that somebody else passed on is not of this machine, even if it comes from there.
    """
    shared = asked.shared
    if asked.path == b"-/health":
        now = shared.measured()
        status = {
            "status": "ok" if now.generation else "no mirror map yet",
            "generation": now.generation,
            "map_age_seconds": round(now.map_age_seconds),
        }
        return document("application/json", json.dumps(status).encode() + b"\n", Outcome.STATUS)
    if asked.path != b"-/metrics":
        return refusal(HTTPStatus.NOT_FOUND, "there is no such file")
    passed_on = b"x-forwarded-for" in asked.head.headers or b"forwarded" in asked.head.headers
    address = asked.client.address
    own = peer.is_loopback and not passed_on
    if own or shared.trusts(address) or (shared.trusts(peer) and address.is_loopback):
        return document(CONTENT_TYPE, render(shared.metrics, shared.measured()), Outcome.STATUS)
    return refusal(HTTPStatus.FORBIDDEN, "metrics are for this machine and for its trusted proxies")
