"""The public names of the guard."""

from commonfarm.guard.alone import BusyError, alone
from commonfarm.guard.background import defer_once

__all__ = ["BusyError", "alone", "defer_once"]
