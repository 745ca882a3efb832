"""What a mirror has and how it answers, seen from outside: listings by rsync and by web index,
checks of single files, probes and audits. Plain Python without Django. A mirror is believed nothing
that can be checked, and may be hostile: all it can cost is bounded by `Limits`.
"""

from __future__ import annotations

from commonfarm.mirrors.scanning.auditing import audit
from commonfarm.mirrors.scanning.checking import check
from commonfarm.mirrors.scanning.crawling import list_http
from commonfarm.mirrors.scanning.damping import Beat, Health, damped
from commonfarm.mirrors.scanning.probing import probe
from commonfarm.mirrors.scanning.rsync import list_rsync
from commonfarm.mirrors.scanning.values import (
    Audited,
    Checked,
    Code,
    Limits,
    Listed,
    Mismatch,
    Outcome,
    Probed,
    Sample,
    ScanError,
    Wanted,
)

__all__ = [
    "Audited",
    "Beat",
    "Checked",
    "Code",
    "Health",
    "Limits",
    "Listed",
    "Mismatch",
    "Outcome",
    "Probed",
    "Sample",
    "ScanError",
    "Wanted",
    "audit",
    "check",
    "damped",
    "list_http",
    "list_rsync",
    "probe",
]
