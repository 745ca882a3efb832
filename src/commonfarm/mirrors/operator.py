"""The process `operator`: does what takes a key that lets us into other machines."""

from __future__ import annotations

from commonfarm.guard.interface import work
from commonfarm.lib.config import Config
from commonfarm.mirrors import push_key

CONCURRENCY = {"operator": 4}


def run(config: Config) -> None:
    """Make its key if there is none, then work until SIGTERM."""
    push_key.prepare_key(config.operator)
    work(config, CONCURRENCY, name="operator")
