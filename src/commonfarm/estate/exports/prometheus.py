"""The hosts as targets for Prometheus: JSON for its `file_sd_configs`."""

from __future__ import annotations

import json
from collections.abc import Sequence

from commonfarm.estate.exports.common import Exported, checked, running
from commonfarm.estate.facts import Facts, Host


def targets(facts: Facts, hosts: Sequence[Host], port: int) -> Exported:
    """Return one target for each host at its address, or else its name, with labels.

    `service` and `environment` join by comma what runs on the host. A target for each service
    would have the host scraped once for each.
    """
    on = running(facts, hosts)
    groups = []
    for host in map(checked, hosts):
        address = host.address or host.name
        at = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        labels = {
            "instance": host.name,
            "architecture": host.architecture,
            "site": host.site,
            "rack": host.rack,
            "sponsor": host.sponsor,
            "service": ",".join(sorted({one.service for one in on[host.name]})),
            "environment": ",".join(sorted({one.environment for one in on[host.name]})),
        }
        groups.append({"targets": [at], "labels": {k: v for k, v in labels.items() if v}})
    return Exported(json.dumps(groups, indent=2, ensure_ascii=False) + "\n")
