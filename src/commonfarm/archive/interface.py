"""The public names of the archive."""

from commonfarm.archive import ports
from commonfarm.archive.adding import (
    NewArtifact,
    Outcome,
    Verdict,
    add_build,
    ask_publication,
    publication_of,
)
from commonfarm.archive.models import Artifact, Entry, Publication, PublicationState, TreeFile
from commonfarm.archive.signing import sign_mirror_map, sign_statements
from commonfarm.archive.trees import current_files, current_revision, files_of

__all__ = [
    "Artifact",
    "Entry",
    "NewArtifact",
    "Outcome",
    "Publication",
    "PublicationState",
    "TreeFile",
    "Verdict",
    "add_build",
    "ask_publication",
    "current_files",
    "current_revision",
    "files_of",
    "ports",
    "publication_of",
    "sign_mirror_map",
    "sign_statements",
]
