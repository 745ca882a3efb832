"""The public names of the store."""

from commonfarm.store.blobs import check, path_of, put_all, put_bytes, put_file, read
from commonfarm.store.disk import blob_path, full_disk_is_said, sync_folder
from commonfarm.store.downloads import ranged
from commonfarm.store.errors import BlobDamagedError, GapError, StoreFullError, UploadLiesError
from commonfarm.store.models import Blob
from commonfarm.store.receiving import (
    BYTES_BODY,
    Offset,
    Received,
    checked_chunk,
    received,
)
from commonfarm.store.uploads import add_chunk, finished_upload, finished_uploads, start_upload

__all__ = [
    "BYTES_BODY",
    "Blob",
    "BlobDamagedError",
    "GapError",
    "Offset",
    "Received",
    "StoreFullError",
    "UploadLiesError",
    "add_chunk",
    "blob_path",
    "check",
    "checked_chunk",
    "finished_upload",
    "finished_uploads",
    "full_disk_is_said",
    "path_of",
    "put_all",
    "put_bytes",
    "put_file",
    "ranged",
    "read",
    "received",
    "start_upload",
    "sync_folder",
]
