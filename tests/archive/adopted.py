"""A small real world for adopted trees: a folder, its tree, and a clock that is moved."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from commonfarm.archive.adoption import looking
from commonfarm.archive.adoption.models import Adoption
from commonfarm.archive.trees import aliases_of, current_revision, files_of
from commonfarm.estate.interface import ReleaseTree

HOUR = timedelta(hours=1)


class Adopted:
    """A folder, its tree, and a clock on which every change was long ago at the next look."""

    def __init__(self, folder: Path, **policy: Any) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True)
        self.tree = ReleaseTree.objects.create(name="pub", adopts=str(folder), **policy)
        self.now = timezone.now() + HOUR

    def put(self, path: str, text: str = "x") -> Path:
        place = self.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        return place

    def look(self, *, asked: bool = True, later: timedelta = HOUR) -> Adoption:
        self.now += later
        return looking.look(self.tree, self.now, asked=asked)

    def seen(self) -> dict[str, int]:
        files = files_of(self.tree, current_revision(self.tree))
        return dict(files.values_list("path", "size"))

    def aliases(self) -> dict[str, str]:
        found = aliases_of(self.tree, current_revision(self.tree))
        return dict(found.values_list("path", "target"))

    def allow_loss(self) -> None:
        looking.adoption_of(self.tree).allow_loss(who="user:anna")
