"""Examines this host: everything an installation needs, and for what is missing the command that
mends it.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass

from commonfarm.installation import checks
from commonfarm.lib.config import Config
from commonfarm.lib.errors import NotFoundError
from commonfarm.lib.places import find


@dataclass(frozen=True, slots=True)
class Finding:
    """One point: what was found, whether it is enough, and if not the command that mends it."""

    name: str
    ok: bool
    found: str
    mend: str = ""

    def shown(self) -> dict[str, object]:
        """Return it as `doctor --json` shows it."""
        return asdict(self)


def examine() -> list[Finding]:
    """Return every finding; those about an installation only where one is configured."""
    try:
        config: Config | None = find()
    except NotFoundError:
        config = None
    results = [
        ("system", checks.system()),
        ("packages", checks.packages()),
        ("namespaces", checks.namespaces()),
        ("user namespaces", checks.user_namespaces()),
        ("overlayfs", checks.overlay()),
        ("sandbox", checks.sandbox()),
        ("limits of builds", checks.limits()),
        ("disk space", checks.disk(config)),
        ("users", checks.users_of_processes()),
        *([("root for the builder", checks.sudo())] if os.getuid() else []),
        *([("ports", checks.ports(config)), ("rsync", checks.rsync(config))] if config else []),
    ]
    return [Finding(name, not mend, found, mend) for name, (found, mend) in results]
