"""The estate's public names. What it reads of the host's apt is in `host_apt`, without Django."""

from commonfarm.estate import logos
from commonfarm.estate.drawing.plot import Line, plot
from commonfarm.estate.kept import pledges_in_force
from commonfarm.estate.load import load_directory
from commonfarm.estate.models import (
    Following,
    Host,
    Load,
    Pool,
    Project,
    ReleaseTree,
    Repository,
    Target,
)

__all__ = [
    "Following",
    "Host",
    "Line",
    "Load",
    "Pool",
    "Project",
    "ReleaseTree",
    "Repository",
    "Target",
    "load_directory",
    "logos",
    "pledges_in_force",
    "plot",
]
