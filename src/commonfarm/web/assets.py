"""Static files, served by the hub itself under addresses that change with their content.

They are few and small, so they are read once and kept in memory. An address holds the hash of the
bytes, so a browser may keep them for ever and never shows an old one.
"""

from __future__ import annotations

import hashlib
import mimetypes
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse

HOLDERS = ("commonfarm.web", "commonfarm.estate", "commonfarm.mirrors", "django_htmx")


@dataclass(frozen=True, slots=True)
class Asset:
    """One file: its bytes, what they are, and the first 16 hex digits of their SHA-256."""

    data: bytes
    kind: str
    digest: str


@cache
def assets() -> dict[str, Asset]:
    """Return all static files by name (`base.css`, `django_htmx/htmx.min.js`)."""
    found = {}
    for holder in HOLDERS:
        spec = find_spec(holder)
        assert spec is not None and spec.origin is not None
        root = Path(spec.origin).parent / "static"
        for file in sorted(root.rglob("*")):
            if file.is_file():
                data = file.read_bytes()
                kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
                if kind.startswith("text/"):
                    kind += "; charset=utf-8"
                digest = hashlib.sha256(data).hexdigest()[:16]
                found[file.relative_to(root).as_posix()] = Asset(data, kind, digest)
    return found


def address(name: str) -> str:
    """Return where the static file `name` is served; raise KeyError when there is none."""
    return reverse("asset", args=[assets()[name].digest, name])


def serve(_request: HttpRequest, digest: str, name: str) -> HttpResponse:
    """Answer with a static file; an address of other content than ours is not found."""
    asset = assets().get(name)
    if asset is None or asset.digest != digest:
        raise Http404("there is no such file")
    return HttpResponse(
        asset.data,
        content_type=asset.kind,
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )
