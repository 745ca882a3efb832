"""The public names of the guard."""

from commonfarm.guard.background import defer_once

__all__ = ["defer_once"]
