"""The estate's public names. What it reads of the host's apt is in `host_apt`, without Django."""

from commonfarm.estate.load import load_directory
from commonfarm.estate.models import (
    Host,
    Load,
    Pool,
    Project,
    ReleaseTree,
    Repository,
    Target,
)

__all__ = [
    "Host",
    "Load",
    "Pool",
    "Project",
    "ReleaseTree",
    "Repository",
    "Target",
    "load_directory",
]
