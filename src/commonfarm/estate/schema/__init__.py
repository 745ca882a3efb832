"""What the estate's YAML may say: one pydantic model per kind of thing.

They hold what is written, checked one thing at a time. What must agree between things (names,
references) is the reader's and the resolver's; what `host` means is the loader's.
"""

from __future__ import annotations

from commonfarm.estate.schema.building import Packages, Pool, Project, Repository, Target, Tree
from commonfarm.estate.schema.common import HOST, Named, Thing
from commonfarm.estate.schema.demand import Component, Environment, Instances, Service, Spread
from commonfarm.estate.schema.future import Growth, Observed, Policy, Rung, Step, Transfer
from commonfarm.estate.schema.requirement import Ratio, Requires, Size, WantedTraits
from commonfarm.estate.schema.supply import (
    Host,
    HostKind,
    Machine,
    Network,
    Pledge,
    Site,
    Sponsor,
    expand,
    how_many,
)

SECTIONS: dict[str, type[Thing]] = {
    "sites": Site,
    "sponsors": Sponsor,
    "pledges": Pledge,
    "hosts": Host,
    "sizes": Size,
    "services": Service,
    "transfers": Transfer,
    "catalogue": HostKind,
    "pools": Pool,
    "targets": Target,
    "projects": Project,
    "trees": Tree,
}
"""The sections that are lists of things. `policy` is one mapping."""

POLICY = "policy"

__all__ = [
    "HOST",
    "POLICY",
    "SECTIONS",
    "Component",
    "Environment",
    "Growth",
    "Host",
    "HostKind",
    "Instances",
    "Machine",
    "Named",
    "Network",
    "Observed",
    "Packages",
    "Pledge",
    "Policy",
    "Pool",
    "Project",
    "Ratio",
    "Repository",
    "Requires",
    "Rung",
    "Service",
    "Site",
    "Size",
    "Sponsor",
    "Spread",
    "Step",
    "Target",
    "Thing",
    "Transfer",
    "Tree",
    "WantedTraits",
    "expand",
    "how_many",
]
