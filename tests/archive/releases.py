"""A small real world for releases: a tree without repositories, and who puts files into it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from commonfarm.archive import manifest, manifest_rows, publishing
from commonfarm.archive.models import Publication, Release
from commonfarm.archive.releases import going_public, lifecycle, rules
from commonfarm.archive.trees import aliases_of, current_revision, files_of, listed_files
from commonfarm.estate.interface import ReleaseTree
from commonfarm.lib.config import Config
from commonfarm.store.interface import put_all

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def unsigned_statement(number: int) -> bytes:
    """Return the statement of a publication as any key signs it."""
    publication = Publication.objects.get(pk=number)
    earlier = manifest_rows.earlier_segments(publication)
    statement = manifest_rows.statement(publication, earlier)
    return manifest.seal(statement, Ed25519PrivateKey.from_private_bytes(bytes(32)))


class Releases:
    """Puts, reviews and publishes releases of a tree `sugar`; no clock but the given one."""

    def __init__(self, config: Config, **policy: Any) -> None:
        self.config = config
        self.tree = ReleaseTree.objects.create(name="sugar", **policy)

    @property
    def seen(self) -> Path:
        return self.config.published / "sugar"

    def opened(self, files: dict[str, str], aliases: dict[str, str] | None = None) -> Release:
        release = lifecycle.open_release(self.tree, title="a release", who="user:anna")
        blobs = put_all([text.encode() for text in files.values()])
        new = [(path, blob.sha256) for path, blob in zip(files, blobs, strict=True)]
        lifecycle.add_files(release, new, owner=None)
        lifecycle.add_aliases(release, list((aliases or {}).items()))
        return release

    def reviewed(self, files: dict[str, str], aliases: dict[str, str] | None = None) -> Release:
        release = self.opened(files, aliases)
        lifecycle.close(release, who="user:anna", now=NOW)
        if self.tree.review != "none":
            lifecycle.review(release, ok=True, who="user:bert", now=NOW)
        return release

    def published(self, files: dict[str, str], aliases: dict[str, str] | None = None) -> Release:
        release = self.reviewed(files, aliases)
        going_public.publish(release, NOW, who="user:bert")
        self.work()
        release.refresh_from_db()
        assert release.state == "public", (release.why, Publication.objects.latest("pk").problem)
        return release

    def work(self) -> int:
        """Do what the worker does; return the revision that users see, with its folder right."""
        publishing.publish(self.tree)
        revision = current_revision(self.tree)
        if revision:
            assert self.seen.readlink() == Path(f"sugar.r{revision}")
            files = {file.path: file.sha256 for file in files_of(self.tree, revision)}
            aliases = dict(aliases_of(self.tree, revision).values_list("path", "target"))
            lying = content(self.seen)
            differ = {path for path, _ in lying.items() ^ (files | aliases).items()}
            assert not differ, sorted(differ)
        return revision

    def listed(self) -> list[str]:
        """Return the paths that the newest revision consists of, without its manifest."""
        files = listed_files(self.tree, current_revision(self.tree))
        paths = files.values_list("path", flat=True)
        return [path for path in paths if not path.startswith("manifest/")]

    def lying(self) -> list[str]:
        """Return the paths in the published folder, without the manifest's."""
        return sorted(path for path in content(self.seen) if not path.startswith("manifest/"))


def content(folder: Path) -> dict[str, str]:
    """Return what is in a folder: SHA-256 of each file, and the target of each link, by path."""
    top, found = folder.resolve(), {}
    for place in top.rglob("*"):
        path = str(place.relative_to(top))
        if place.is_symlink():
            target = rules.target_of(path, str(place.readlink()))
            assert target is not None
            found[path] = target
        elif place.is_file():
            found[path] = hashlib.sha256(place.read_bytes()).hexdigest()
        else:
            assert any(place.iterdir()), f"{path} is empty"
    return found
