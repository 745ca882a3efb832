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
from commonfarm.archive.columns import (
    FileColumns,
    file_columns,
    file_hashes,
    joined,
    older_versions,
)
from commonfarm.archive.models import (
    Adoption,
    Artifact,
    Entry,
    FileHashes,
    Publication,
    PublicationState,
    Release,
    ReleaseState,
    TreeFile,
)
from commonfarm.archive.rsync_modules import embargoed_module, write_modules_soon
from commonfarm.archive.signing import sign_mirror_map, sign_push, sign_statements
from commonfarm.archive.trees import aliases_of, current_files, current_revision, files_of

__all__ = [
    "Adoption",
    "Artifact",
    "Entry",
    "FileColumns",
    "FileHashes",
    "NewArtifact",
    "Outcome",
    "Publication",
    "PublicationState",
    "Release",
    "ReleaseState",
    "TreeFile",
    "Verdict",
    "add_build",
    "aliases_of",
    "ask_publication",
    "current_files",
    "current_revision",
    "embargoed_module",
    "file_columns",
    "file_hashes",
    "files_of",
    "joined",
    "older_versions",
    "ports",
    "publication_of",
    "sign_mirror_map",
    "sign_push",
    "sign_statements",
    "write_modules_soon",
]
