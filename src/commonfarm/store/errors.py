"""What can go wrong with bytes on their way into the store."""

from __future__ import annotations

from http import HTTPStatus

from commonfarm.http.interface import ProblemError
from commonfarm.lib.errors import Reason


class UploadLiesError(ProblemError):
    """A file is not what it was said to be, by hash or size. What came of it was dropped."""

    def __init__(self, what: str) -> None:
        super().__init__(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            Reason("upload-lies", what, "upload the file again, from its first byte"),
        )


class GapError(ProblemError):
    """A chunk begins beyond what was received; `received` says where to go on (bytes)."""

    def __init__(self, received: int) -> None:
        super().__init__(
            HTTPStatus.CONFLICT,
            Reason(
                "gap", "the chunk leaves a gap to what was received", f"go on at offset {received}"
            ),
        )
        self.received = received


class StoreFullError(ProblemError):
    """The store's disk is full. What was received before is kept."""

    def __init__(self) -> None:
        super().__init__(
            HTTPStatus.INSUFFICIENT_STORAGE,
            Reason("store-full", "the disk of the store is full", "free space there and go on"),
        )


class BlobDamagedError(ProblemError):
    """A blob's file is not what its row says."""

    def __init__(self, sha256: str, what: str) -> None:
        super().__init__(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            Reason(
                "blob-damaged",
                f"the stored file {sha256} is damaged: {what}",
                "bring it back from a backup, or build or upload it again",
            ),
        )
