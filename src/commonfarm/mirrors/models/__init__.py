"""The tables of the mirrors: the registry, what was seen there, and what was downloaded."""

from commonfarm.mirrors.models.counts import CountBatch, FileCount, MirrorCount, Redirector
from commonfarm.mirrors.models.host_keys import HostKey
from commonfarm.mirrors.models.looks import (
    Arrival,
    Audit,
    Holdings,
    MapWritten,
    Probe,
    PushAttempt,
    Scan,
    ScanKind,
)
from commonfarm.mirrors.models.overrides import Override
from commonfarm.mirrors.models.registry import ADDRESSES, Mirror, Push, State
from commonfarm.mirrors.models.rsync import RsyncPassword

__all__ = [
    "ADDRESSES",
    "Arrival",
    "Audit",
    "CountBatch",
    "FileCount",
    "Holdings",
    "HostKey",
    "MapWritten",
    "Mirror",
    "MirrorCount",
    "Override",
    "Probe",
    "Push",
    "PushAttempt",
    "Redirector",
    "RsyncPassword",
    "Scan",
    "ScanKind",
    "State",
]
