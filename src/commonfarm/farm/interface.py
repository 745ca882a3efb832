"""The farm's public names."""

from commonfarm.farm.log import LogPart, read_log
from commonfarm.farm.models import Build, Job, JobState, Lease, Source
from commonfarm.farm.submission import submit

__all__ = [
    "Build",
    "Job",
    "JobState",
    "Lease",
    "LogPart",
    "Source",
    "read_log",
    "submit",
]
