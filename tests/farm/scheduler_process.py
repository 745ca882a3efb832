"""Runs the scheduler as a process of its own; quick timing, so that tests need not wait long.

It hears of jobs by notification alone: looking by itself would hide that one is missing.
"""

from __future__ import annotations

import asyncio
import logging

import django
import uvloop

from commonfarm.farm.dispatch import run
from commonfarm.lib.config import current


def main() -> None:
    django.setup()
    from commonfarm.farm.election import Scheduler
    from commonfarm.farm.term import Timing

    logging.basicConfig(level=logging.INFO)
    quick = Timing(elect=0.2, listen=0.3, resync=60.0, sweep=0.3, grace=0.0)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(current(), Scheduler(current(), quick)))
