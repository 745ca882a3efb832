"""The public names of the guard."""

from commonfarm.guard.alone import BusyError, alone
from commonfarm.guard.background import defer_once
from commonfarm.guard.worker import run as work

__all__ = ["BusyError", "alone", "defer_once", "work"]
