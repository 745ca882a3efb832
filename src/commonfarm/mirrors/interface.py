"""The public names of the mirrors."""

from commonfarm.mirrors.models import Mirror

__all__ = ["Mirror"]
